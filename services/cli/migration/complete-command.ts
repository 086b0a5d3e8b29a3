import { removeGuards } from '#adapters/postgres/migration/guard.ts';
import { setGate, underTerm } from '#adapters/postgres/migration/side-state.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { foldJournal } from '#core/migration/state.ts';
import { confirm } from '../ask.ts';
import type { CliEnvironment } from '../environment.ts';
import { tearDown } from '../teardown/teardown-command.ts';
import { copyJournal } from './journal-copy.ts';
import { OperatorGroup, openMigrations, type Member } from './operator-group.ts';

/** May be called again after a crash: what is gone already is not there to be removed. */
export async function completeMigration(
  config: Config,
  target: TargetConfig,
  isConfirmed: boolean,
  logger: Logger,
  cli: CliEnvironment,
): Promise<void> {
  const about = { command: 'restage complete', dryRun: null };
  if (!isConfirmed && !(await confirm('end the migration? there is no rollback from then on (y/n) ', about, cli))) {
    cli.err('nothing was changed\n');
    cli.setExitCode(1);
    return;
  }
  const group = await OperatorGroup.open(await openMigrations(config, target), logger, cli.signal);
  try {
    const state = foldJournal(await group.read());
    if (state.open !== null || state.live !== 'target')
      throw new RestageError('switch_refused', 'only a migration whose target is live can be completed', {
        where: state.open === null ? 'the source is live' : 'a switch has not ended',
        fix: 'restage status says what comes next',
      });
    for (const member of group.members) await completeMember(member, logger);
  } finally {
    await group.close();
  }
  for (const { name, migration } of group.members) {
    cli.out(`the way back goes, a pipeline whose source is target ${name}, and whose target is the source:\n`);
    await tearDown(
      migration.back.config,
      { dryRun: false, yes: true, json: false, force: true, registry: false },
      logger,
      cli,
    );
  }
  cli.out(
    'the migration is completed: the target is live, the source stays closed for writes; restage teardown removes the pipeline\n',
  );
}

async function completeMember({ migration, operator, own }: Member, logger: Logger): Promise<void> {
  const { there, back, keys } = migration;
  if (!own.isCompleted) await operator.append({ kind: 'completed', live: 'target' });
  await operator.persist('source', (client) =>
    underTerm(client, keys.source, operator.term, () =>
      setGate(client, back.config.name, { isClosed: true, reason: 'the migration is completed' }),
    ),
  );
  await removeGuards(await operator.session('target'), keys.target);
  await copyJournal(there, await operator.read(), logger);
}
