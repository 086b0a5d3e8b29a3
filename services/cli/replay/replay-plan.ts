import type pg from 'pg';
import { readGate } from '#adapters/postgres/migration/side-state.ts';
import { readLoadedTopics, findCheckpoint, type Checkpoint } from '#adapters/postgres/target/target-state.ts';
import { findSpread } from '#adapters/postgres/target/spread-state.ts';
import { findReplay, type Replay } from '#adapters/postgres/target/replay-state.ts';
import { isFinishStarted } from '#adapters/postgres/target/schema-finish.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { formatMicros, type HistoryPoint } from '#core/history-point.ts';
import { formatLsn, lsnOf, parseLsn, type Lsn } from '#core/lsn.ts';
import { requireSameOutput } from '../../sink/same-output.ts';
import { requireSameLife } from '../../sink/same-life.ts';
import type { History } from './history.ts';

/** What was asked for, as the command line has it. */
export interface ReplayRequest {
  readonly from: HistoryPoint;
  /** As it was written. */
  readonly fromText: string;
  readonly until: Exclude<HistoryPoint, { kind: 'beginning' }> | null;
  readonly isForced: boolean;
}

/** What a replay will do, once nothing speaks against it. */
export interface ReplayPlan {
  readonly checkpoint: Checkpoint | null;
  /** A replay that was asked for in the same words and cut short: nothing is emptied twice. */
  readonly isResumed: boolean;
  readonly isEmptying: boolean;
  /** Everything that committed before it and nothing else; null: no bound. */
  readonly bound: Lsn | null;
  /** Where the replay ends: the bound, or what Kafka had of the source when it began. */
  readonly goal: Lsn;
  /** For people. */
  readonly notes: readonly string[];
}

export interface PlanTools {
  readonly client: pg.ClientBase;
  readonly config: Config;
  readonly target: TargetConfig;
  /** What the target reads, and the raw topics. */
  readonly own: History;
  readonly raw: History;
  /** Microseconds since 1970. */
  readonly now: bigint;
}

/** @throws RestageError replay_refused, output_changed, history_lost, state_foreign or usage: why it can't be done. */
export async function planReplay(tools: PlanTools, request: ReplayRequest): Promise<ReplayPlan> {
  const { client, config, target, own, raw } = tools;
  await requireOurs(client, config, target);
  const known = await findCheckpoint(client, config.name);
  const before = await findReplay(client, config.name);
  const isResumed = request.isForced && before !== null && isSame(before, request, own.prefix);
  const isEmptying = request.isForced && !isResumed;
  if (request.isForced && request.from.kind !== 'beginning')
    throw refused('a forced replay empties the target, so it begins at the beginning', 'say --from beginning');
  const newest = await raw.last();
  if (newest === null)
    throw new RestageError('history_lost', 'Kafka has no history of this pipeline', {
      where: `topic ${raw.prefix}.epochs`,
      fix: 'correct kafka.brokers or name; or start the producer: a target that is there from the start needs no replay',
    });
  const checkpoint = isEmptying ? null : known;
  if (checkpoint !== null && (await findSpread(client, config.name)) !== null)
    throw refused(
      'lanes apply side by side here (ordering: key), so the target has no one position',
      `restage pause --target ${target.name}, with its sinks running, lets them meet; or start a sink with ordering: transaction first`,
    );
  if (checkpoint !== null) {
    requireSameOutput(await readLoadedTopics(client, config.name), own.prefix, target.name);
    await requireSameLife({ reader: own.reader }, checkpoint, new AbortController().signal);
  }
  await requireReach(tools, checkpoint);
  const notes: string[] = [];
  await requireNoGap(tools, request, checkpoint);
  const bound = await boundOf(tools, request, parseLsn(newest.manifest.through), notes);
  if (bound !== null) await requireBound(tools, checkpoint, bound);
  if (checkpoint !== null)
    notes.push(`${target.name} is at ${formatLsn(checkpoint.through)}: what it has already is left out`);
  if (isResumed) notes.push('goes on with the forced replay that was cut short: nothing is emptied again');
  return { checkpoint, isResumed, isEmptying, bound, goal: bound ?? parseLsn(newest.manifest.through), notes };
}

function isSame(before: Replay, { fromText }: ReplayRequest, prefix: string): boolean {
  return !before.isFinished && before.isForced && before.from === fromText && before.prefix === prefix;
}

async function requireOurs(client: pg.ClientBase, config: Config, target: TargetConfig): Promise<void> {
  const given = await readGate(client, config.name);
  if (typeof given === 'string')
    throw refused(`no replay goes into a live database: ${given}`, 'name another target', `target ${target.name}`);
  if (!(await isFinishStarted(client, config.name))) return;
  throw refused(
    'this target was given to its application by restage schema finish: its triggers would act on what is replayed',
    'name another target',
    `target ${target.name}, restage.journal, step finish`,
  );
}

/** An output that is not made yet is made from the raw history. */
async function requireReach({ own, raw }: PlanTools, checkpoint: Checkpoint | null): Promise<void> {
  if (checkpoint !== null) return own.requireReach(checkpoint.nextOffset);
  await own.requireReach(0n);
  if (own !== raw && (await own.plan()) === null) await raw.requireReach(0n);
}

/** Between what the target has and where the replay is to begin nothing may be missing: updates would find no rows. */
async function requireNoGap(
  { own, raw, target }: PlanTools,
  { from, fromText }: ReplayRequest,
  checkpoint: Checkpoint | null,
): Promise<void> {
  if (from.kind === 'beginning') return;
  if (checkpoint === null || checkpoint.pass === 1) {
    const what = checkpoint === null ? 'has no position' : 'has not all rows of the initial load';
    throw refused(
      `a replay from ${fromText} needs a baseline, and target ${target.name} ${what}: updates would find no rows`,
      'say --from beginning; or clone a target, or restore a backup of one, with its schema restage, and replay onto that',
    );
  }
  const start = from.kind === 'lsn' ? from.lsn : await raw.firstCommitAfter(from.micros - 1n);
  const { through, nextOffset } = checkpoint;
  if (start !== null && start <= through) return;
  const missing = await own.firstCommitBetween(nextOffset, through, start ?? lsnOf(2n ** 64n - 1n));
  if (missing === null) return;
  throw refused(
    `--from ${fromText} is later than the baseline: updates would find no rows`,
    `say --from ${formatLsn(through)} or earlier: what the target has already is left out`,
    `target ${target.name} is at ${formatLsn(through)}; the transaction at ${formatLsn(missing)} would be missing`,
  );
}

async function boundOf(
  { raw, now }: PlanTools,
  { until }: ReplayRequest,
  newest: Lsn,
  notes: string[],
): Promise<Lsn | null> {
  if (until === null) return null;
  // A transaction that committed at that very place is not after it.
  if (until.kind === 'lsn') return lsnOf(until.lsn + 1n);
  const next = await raw.firstCommitAfter(until.micros);
  if (next !== null) return next;
  if (until.micros > now)
    throw refused('--until is a time to come', 'name an LSN, or leave --until out and stop the replay by hand');
  notes.push(
    `no transaction in Kafka is later than ${formatMicros(until.micros)}: the replay ends where Kafka does now`,
  );
  return newest;
}

/** A target has no state of the source before the snapshots that its rows came under. */
async function requireBound({ own, target }: PlanTools, checkpoint: Checkpoint | null, bound: Lsn): Promise<void> {
  if (checkpoint !== null && checkpoint.through > bound) {
    throw refused(
      `target ${target.name} is past --until already`,
      'a position does not go back: --force empties the target and begins again; or use an earlier clone',
      `it is at ${formatLsn(checkpoint.through)}, the bound is ${formatLsn(bound)}`,
    );
  }
  if (checkpoint?.isLoadDone === true) return;
  const plan = checkpoint?.planOffset ?? (await own.plan())?.offset ?? null;
  const snapshot = plan === null ? null : await own.newestSnapshot(plan);
  if (snapshot === null)
    throw refused(
      'a bound can be judged once the initial load is in Kafka whole',
      own.prefix.includes('.shaped.')
        ? 'start the transformer of this output and wait for it'
        : 'wait for the load to end',
      `${own.prefix}.epochs has no end of a load`,
    );
  if (bound >= snapshot) return;
  throw refused(
    '--until is earlier than the snapshot that the rows of the initial load come from: there is no such state',
    `say --until ${formatLsn(snapshot)} or later`,
    `the newest snapshot of the load is ${formatLsn(snapshot)}`,
  );
}

function refused(what: string, fix: string, where?: string): RestageError {
  return new RestageError('replay_refused', what, { fix, ...(where === undefined ? {} : { where }) });
}
