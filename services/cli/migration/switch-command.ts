import { readJournal } from '#adapters/postgres/migration/migration-journal.ts';
import { describeError, RestageError, type ErrorCode } from '#core/errors.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { otherSide, type Side } from '#core/migration/journal.ts';
import { joinHands } from '#core/migration/join-hands.ts';
import { foldJournal, type Verification } from '#core/migration/state.ts';
import { runSwitch, type SwitchHands, type SwitchOptions, type SwitchResult } from '#core/migration/switch-run.ts';
import { requireSameGroup, storyOf, togetherWith } from '#core/migration/together.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn } from '#core/lsn.ts';
import { confirm } from '../ask.ts';
import type { CliEnvironment } from '../environment.ts';
import { processFailpoints } from '../process-failpoints.ts';
import { connectTarget } from '../target-checkpoint.ts';
import { DryJournal, DRY_HANDS } from './dry-run.ts';
import { ChangedKeys } from './changed-keys.ts';
import { sayLive } from './say-live.ts';
import { askChecklist, type GateAnswer } from './check-gate.ts';
import { endsOf, type Migration } from './ends.ts';
import { comparesAll } from './fence-verify.ts';
import { copyJournal } from './journal-copy.ts';
import { OperatorGroup, openMigrations, type Member } from './operator-group.ts';
import { prepareSwitch } from './prepare.ts';
import { findObjections, requireNone, type GuardOptions, type Objection } from './switch-guards.ts';
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

const SAYS_LIVE = /the (source|target) is (the )?live|neither side is open/;

/** `restage cutover` and `restage rollback`: 0 the side is live, 1 nothing was changed or everything undone, 4 a person is needed. */
export async function runSwitchCommand(
  config: Config,
  target: TargetConfig,
  request: SwitchRequest,
  logger: Logger,
  cli: CliEnvironment,
): Promise<void> {
  if (
    !request.isDryRun &&
    !request.isConfirmed &&
    !(await confirmSwitch(request.to, togetherWith(config, target), cli))
  ) {
    cli.err('nothing was changed\n');
    cli.setExitCode(1);
    return;
  }
  try {
    const migrations = await openMigrations(config, target);
    const result = request.isDryRun
      ? await rehearseSteps(migrations, request, logger, cli)
      : await operate(migrations, request, logger, cli);
    sayResult(result, request, cli);
  } catch (error) {
    // Whoever switches is told it whatever went wrong: most errors know, and where one does not the journal is asked.
    if (!request.isDryRun && !SAYS_LIVE.test(describeError(error))) cli.err(`${await sayLive(config, target)}\n`);
    if (!(error instanceof RestageError && UNDONE.has(error.code))) throw error;
    cli.err(`${describeError(error)}\n`);
    if (request.json)
      cli.out(`${JSON.stringify({ done: false, code: error.code, why: error.message, where: error.where ?? '' })}\n`);
    cli.setExitCode(1);
  }
}

async function operate(
  migrations: readonly Migration[],
  request: SwitchRequest,
  logger: Logger,
  cli: CliEnvironment,
): Promise<SwitchResult> {
  const group = await OperatorGroup.open(migrations, logger, cli.signal);
  try {
    const signal = AbortSignal.any([cli.signal, group.lost]);
    signal.addEventListener(
      'abort',
      () =>
        cli.err('asked to stop: before the point of no return everything is undone, after it the switch is ended\n'),
      { once: true },
    );
    // A rollback keeps the way that the cutover left: the pipeline that fed the target goes on from there.
    const wayBack = request.to === 'source' || request.wayBack;
    return await runSwitch({
      ...common(request, cli),
      wayBack,
      journal: group,
      hands: joinHands(group.members.map((member) => ({ name: member.name, hands: handsOf(member, request, logger) }))),
      guards: () => makeReady(group, request, wayBack, logger, cli, signal),
      signal,
    });
  } finally {
    await group.close();
    for (const migration of migrations) await copyAfterwards(migration, logger);
  }
}

export function handsOf(
  member: Member,
  { terminates }: Pick<SwitchRequest, 'terminates'>,
  logger: Logger,
): SwitchHands {
  const { migration, operator } = member;
  const verified = (): Verification | null => member.known.verified;
  return makeHands({ migration, operator, verified, changed: () => member.changed, terminates, logger });
}

/** Guards before the tables of each member, then what speaks against a switch of any, before anything is closed. */
async function makeReady(
  group: OperatorGroup,
  request: SwitchRequest,
  wayBack: boolean,
  logger: Logger,
  cli: CliEnvironment,
  signal: AbortSignal,
): Promise<void> {
  const together = group.members.map(({ name }) => name);
  for (const { migration, operator, own } of group.members)
    await prepareSwitch(migration, operator, own, { wayBack, together }, (line) => cli.err(`${line}\n`));
  await group.refresh();
  const objections: Objection[] = [];
  const answer = await checklistOf(
    group.members.map(({ migration }) => migration),
    request,
  );
  if (answer !== null) {
    objections.push(...answer.objections);
    for (const { operator } of group.members) await operator.append(answer.entry);
  }
  for (const { migration, known } of group.members)
    objections.push(
      ...(await objectionsOf(migration, { ...request, state: known, wayBack }, together, logger, signal)),
    );
  requireNone(objections, otherSide(request.to));
  for (const member of group.members) member.changed = await collectChanged(member, request, logger, signal);
}

/** A rollback goes to a side that worked before, and must not wait for what is wrong at the one that is left. */
async function checklistOf(migrations: readonly Migration[], { to }: SwitchRequest): Promise<GateAnswer | null> {
  const [first] = migrations;
  if (to === 'source' || first === undefined) return null;
  return askChecklist(
    first.there.config,
    migrations.map(({ there }) => there.target),
  );
}

/** Each with its target's name, where there are several. */
async function objectionsOf(
  migration: Migration,
  request: SwitchRequest & Pick<GuardOptions, 'state' | 'wayBack'>,
  together: readonly string[],
  logger: Logger,
  signal: AbortSignal,
): Promise<Objection[]> {
  const { to, terminates, verifiedWithinMs, state, wayBack } = request;
  const options = { migration, to, terminates, verifiedWithinMs, state, wayBack, logger, clock: Date.now, signal };
  const found = await findObjections(options);
  if (together.length === 1) return found;
  return found.map(({ what, fix }) => ({ what: `${migration.there.target.name}: ${what}`, fix }));
}

/** Before anything is closed, so that little is left to read in the fence. Null where every row is compared there, or nobody knows since when. */
export async function collectChanged(
  { migration, known: { verified, equalUpTo } }: Member,
  { to, timeBoxMs }: Pick<SwitchRequest, 'to' | 'timeBoxMs'>,
  logger: Logger,
  signal: AbortSignal,
): Promise<ChangedKeys | null> {
  if (equalUpTo === null || comparesAll(verified, timeBoxMs)) return null;
  const changed = await ChangedKeys.open(endsOf(migration, to).feeding, parseLsn(equalUpTo), logger);
  await changed.collect(signal);
  return changed;
}

async function rehearseSteps(
  migrations: readonly Migration[],
  request: SwitchRequest,
  logger: Logger,
  cli: CliEnvironment,
): Promise<SwitchResult> {
  const wayBack = request.to === 'source' || request.wayBack;
  const together = migrations.map(({ there }) => there.target.name);
  const leading = await DryJournal.open(migrations[0]?.there);
  return runSwitch({
    ...common(request, cli),
    say: (line) => cli.err(`dry run: ${line}\n`),
    wayBack,
    journal: leading,
    hands: DRY_HANDS,
    guards: async () => {
      const say = (found: readonly Objection[]): void => {
        for (const { what, fix } of found) cli.err(`speaks against it: ${what}: ${fix}\n`);
      };
      say((await checklistOf(migrations, request))?.objections ?? []);
      const story = await leading.read();
      for (const migration of migrations) {
        const { name } = migration.there.target;
        const own = await (await DryJournal.open(migration.there)).read();
        requireSameGroup(name, own, together);
        const state = foldJournal(storyOf(story, own), name);
        say(await objectionsOf(migration, { ...request, state, wayBack }, together, logger, cli.signal));
      }
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

function confirmSwitch(to: Side, targets: readonly TargetConfig[], cli: CliEnvironment): Promise<boolean> {
  const names = targets.map(({ name }) => name).join(' and ');
  const [command, question] =
    to === 'target'
      ? ['restage cutover', `make target ${names} the live side? (y/n) `]
      : ['restage rollback', `make the source the live side again, of what target ${names} has? (y/n) `];
  return confirm(question, { command }, cli);
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
