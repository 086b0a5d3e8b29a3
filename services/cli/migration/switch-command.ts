import { readJournal } from '#adapters/postgres/migration/migration-journal.ts';
import { describeError, RestageError, type ErrorCode } from '#core/errors.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { otherSide, type Side } from '#core/migration/journal.ts';
import { foldJournal, type MigrationState } from '#core/migration/state.ts';
import { runSwitch, type SwitchOptions, type SwitchResult } from '#core/migration/switch-run.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn } from '#core/lsn.ts';
import { askYesNo } from '../ask.ts';
import type { CliEnvironment } from '../environment.ts';
import { processFailpoints } from '../process-failpoints.ts';
import { connectTarget } from '../target-checkpoint.ts';
import { DryJournal, DRY_HANDS } from './dry-run.ts';
import { ChangedKeys } from './changed-keys.ts';
import { endsOf, type Migration } from './ends.ts';
import { comparesAll } from './fence-verify.ts';
import { copyJournal } from './journal-copy.ts';
import { openMigration } from './open-migration.ts';
import { Operator } from './operator.ts';
import { prepareSwitch } from './prepare.ts';
import { findObjections, requireNone } from './switch-guards.ts';
import { makeHands } from './switch-hands.ts';

export interface SwitchRequest {
  readonly to: Side;
  readonly timeBoxMs: number;
  readonly wayBack: boolean;
  readonly terminates: boolean;
  readonly verifiedWithinMs: number;
  readonly isDryRun: boolean;
  readonly isConfirmed: boolean;
  readonly json: boolean;
}

/** After these everything is as it was, and the message says which side is live. */
const UNDONE: ReadonlySet<ErrorCode> = new Set([
  'switch_refused',
  'switch_failed',
  'switch_late',
  'switch_stopped',
  'fence_blocked',
  'fence_ended',
  'hook_failed',
]);

/** `restage cutover` and `restage rollback`: 0 the side is live, 1 nothing was changed or everything undone, 4 a person is needed. */
export async function runSwitchCommand(
  config: Config,
  target: TargetConfig,
  request: SwitchRequest,
  logger: Logger,
  cli: CliEnvironment,
): Promise<void> {
  if (!request.isDryRun && !request.isConfirmed && !(await confirm(request.to, target, cli))) {
    cli.err('nothing was changed\n');
    cli.setExitCode(1);
    return;
  }
  try {
    const migration = await openMigration(config, target);
    const result = request.isDryRun
      ? await rehearseSteps(migration, request, logger, cli)
      : await operate(migration, request, logger, cli);
    sayResult(result, request, cli);
  } catch (error) {
    if (!(error instanceof RestageError && UNDONE.has(error.code))) throw error;
    cli.err(`${describeError(error)}\n`);
    if (request.json)
      cli.out(`${JSON.stringify({ done: false, code: error.code, why: error.message, where: error.where ?? '' })}\n`);
    cli.setExitCode(1);
  }
}

async function operate(
  migration: Migration,
  request: SwitchRequest,
  logger: Logger,
  cli: CliEnvironment,
): Promise<SwitchResult> {
  const { there } = migration;
  const operator = await Operator.open(there.config, there.target, logger, cli.signal);
  const collected: { changed: ChangedKeys | null } = { changed: null };
  try {
    await copyJournal(there, await operator.read(), logger);
    let known: MigrationState = foldJournal(await operator.read());
    const say = (line: string): void => cli.err(`${line}\n`);
    const signal = AbortSignal.any([cli.signal, operator.lost]);
    signal.addEventListener(
      'abort',
      () => say('asked to stop: before the point of no return everything is undone, after it the switch is ended'),
      {
        once: true,
      },
    );
    // A rollback keeps the way that the cutover left: the pipeline that fed the target goes on from there.
    const wayBack = request.to === 'source' || request.wayBack;
    return await runSwitch({
      ...common(request, cli),
      wayBack,
      journal: operator,
      hands: makeHands({
        migration,
        operator,
        verified: () => known.verified,
        changed: () => collected.changed,
        terminates: request.terminates,
        logger,
      }),
      guards: async (state) => {
        await prepareSwitch(migration, operator, state, wayBack, say);
        known = foldJournal(await operator.read());
        requireNone(
          await findObjections({ ...guardOptions(migration, request, logger, signal), state: known, wayBack }),
          otherSide(request.to),
        );
        collected.changed = await collectChanged(migration, request, known, logger, signal);
      },
      signal,
    });
  } finally {
    await collected.changed?.[Symbol.asyncDispose]();
    await operator.close();
    await copyAfterwards(migration, logger);
  }
}

/** Before anything is closed, so that little is left to read in the fence. Null where every row is compared there, or nobody knows since when. */
async function collectChanged(
  migration: Migration,
  { to, timeBoxMs }: SwitchRequest,
  { verified, equalUpTo }: MigrationState,
  logger: Logger,
  signal: AbortSignal,
): Promise<ChangedKeys | null> {
  if (equalUpTo === null || comparesAll(verified, timeBoxMs)) return null;
  const changed = await ChangedKeys.open(endsOf(migration, to).feeding, parseLsn(equalUpTo), logger);
  await changed.collect(signal);
  return changed;
}

async function rehearseSteps(
  migration: Migration,
  request: SwitchRequest,
  logger: Logger,
  cli: CliEnvironment,
): Promise<SwitchResult> {
  const wayBack = request.to === 'source' || request.wayBack;
  return runSwitch({
    ...common(request, cli),
    wayBack,
    journal: await DryJournal.open(migration.there),
    hands: DRY_HANDS,
    guards: async (state) => {
      const options = { ...guardOptions(migration, request, logger, cli.signal), state, wayBack };
      for (const { what, fix } of await findObjections(options)) cli.err(`speaks against it: ${what}: ${fix}\n`);
    },
    signal: cli.signal,
  });
}

function common(
  request: SwitchRequest,
  cli: CliEnvironment,
): Pick<SwitchOptions, 'to' | 'timeBoxMs' | 'say' | 'failpoints' | 'clock'> {
  return {
    to: request.to,
    timeBoxMs: request.timeBoxMs,
    say: (line) => cli.err(`${line}\n`),
    failpoints: processFailpoints(cli.env),
    clock: Date.now,
  };
}

function guardOptions(
  migration: Migration,
  { to, terminates, verifiedWithinMs }: SwitchRequest,
  logger: Logger,
  signal: AbortSignal,
): Omit<Parameters<typeof findObjections>[0], 'state' | 'wayBack'> {
  return { migration, to, terminates, verifiedWithinMs, logger, clock: Date.now, signal };
}

/** Kafka's copy may come later: the journal is the target's. */
async function copyAfterwards({ there }: Migration, logger: Logger): Promise<void> {
  try {
    const client = await connectTarget(there.config, there.target);
    try {
      await copyJournal(there, await readJournal(client, there.config.name), logger);
    } finally {
      await client.end();
    }
  } catch (error) {
    logger.warn({ err: error }, 'the copy of the journal in Kafka is behind; the next command adds what it lacks');
  }
}

async function confirm(to: Side, target: TargetConfig, cli: CliEnvironment): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw new RestageError('usage', 'a switch asks before it begins, and nobody can answer here', {
      fix: 'give --yes, or --dry-run to see what it would do',
    });
  return askYesNo(`make the ${to} of target ${target.name} the live side? (y/n) `, cli);
}

function sayResult(
  { live, isNews, unavailableMs }: SwitchResult,
  { isDryRun, json }: SwitchRequest,
  cli: CliEnvironment,
): void {
  if (json) cli.out(`${JSON.stringify({ done: true, dryRun: isDryRun, live, isNews, unavailableMs })}\n`);
  else if (isDryRun) cli.out('nothing was done\n');
  else if (isNews) cli.out(`the ${live} is live; writes were refused for ${unavailableMs} ms\n`);
  else cli.out(`the ${live} is live already\n`);
}
