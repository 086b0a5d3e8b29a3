import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { DeadLetterStore, hasDeadLetters, type DeadLetterCounts } from '#adapters/postgres/target/dead-letter-store.ts';
import { findReplay, type Replay } from '#adapters/postgres/target/replay-state.ts';
import { hasSpreads, readProgress, type LaneProgress } from '#adapters/postgres/target/spread-state.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import {
  parseStatusRecord,
  SNAPSHOT_PREFIX,
  STATUS_STALE_MS,
  statusKey,
  type SnapshotRequest,
  type StatusRecord,
} from '#core/control.ts';
import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import { findOutput, outputRef } from '#core/output-ref.ts';
import { forecast, type Forecast } from '#core/forecast.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import type { ServiceStatus } from '#core/status.ts';
import { controlTopic } from '#core/topic-names.ts';
import { openControlPool } from './control-topic.ts';
import { migrationLine, readMigration, type MigrationFacts, type MigrationLine } from './migration/migration-line.ts';
import { SnapshotRequests } from './snapshot-requests.ts';
import { readSourceFigures, type SourceFigures } from './source-figures.ts';
import { connectTarget, readCheckpoint, type Checkpoint } from './target-checkpoint.ts';

/** What `status --json` prints. */
export interface PipelineStatus {
  readonly name: string;
  readonly services: readonly ServiceLine[];
  readonly targets: readonly TargetLine[];
  /** null when it could not be asked. */
  readonly source: SourceFigures | null;
  /** Snapshots that were asked for and that the producer has not begun. */
  readonly requests: readonly SnapshotRequest[];
  /** What could not be asked, and why. */
  readonly problems: readonly string[];
}

export interface ServiceLine {
  readonly service: ServiceStatus['service'];
  readonly instance: string;
  /** The service's own word; `down` when it has been silent for 10 s. */
  readonly state: ServiceStatus['state'] | 'down';
  readonly detail: string;
  readonly through: string;
  readonly lagBytes: number;
  readonly lagEvents: number;
  readonly lagSeconds: number;
  readonly address: string;
  readonly pid: number | null;
  /** Seconds since it was last heard; null for never. */
  readonly silentSeconds: number | null;
  readonly events: ServiceStatus['events'] | null;
  readonly load: ServiceStatus['load'] | null;
  /** The producer's: what its slot keeps. */
  readonly wal: ServiceStatus['wal'];
  /** How it moved over the last half minute; null while nobody can say. */
  readonly flow: ServiceStatus['flow'];
  /** Dead letters that wait behind a transformer's rules; null for the other services. */
  readonly deadLetters: number | null;
  /** Of an output; null for the other services. `row` shows parts of source transactions (invariant 4). */
  readonly quarantine: QuarantinePolicy | null;
}

export interface TargetLine {
  readonly name: string;
  /** The output that it takes; null: the raw topics. */
  readonly output: string | null;
  readonly through: string | null;
  readonly isLoadDone: boolean;
  /** WAL between the source's end and the target's position; null while one of them is unknown. */
  readonly lagBytes: number | null;
  /** Dead letters that wait in it; null while it cannot be asked. */
  readonly deadLetters: number | null;
  /** Rows of it at which later changes wait. */
  readonly heldKeys: number | null;
  /** `row` shows parts of source transactions (invariant 4). */
  readonly quarantine: QuarantinePolicy;
  /** `key` shows parts of source transactions, and tables at different moments (invariant 4). */
  readonly ordering: 'transaction' | 'key';
  /** Lanes that apply side by side now, in their order; none while the target has one position. */
  readonly lanes: readonly LaneLine[];
  /** The newest one, while it goes on and where it stopped at a bound; null for none. */
  readonly replay: ReplayLine | null;
  /** null while it cannot be asked, and of a pipeline that reads Debezium's topics. */
  readonly migration: MigrationLine | null;
  /** If all goes on as in the last half minute. */
  readonly forecast: Forecast;
}

export interface LaneLine {
  readonly lane: number;
  /** All of its own rows that committed before it is applied. */
  readonly through: string;
}

export interface ReplayLine {
  readonly from: string;
  readonly isFinished: boolean;
  /** Nothing that committed at this LSN or later is applied before another replay goes on; null: no bound. */
  readonly bound: string | null;
}

/** null where it failed, which is then a problem of the report. */
type Ask = <T>(work: Promise<T>) => Promise<T | null>;

/** Asks every part; one that is out of reach becomes a problem and does not hide the others. */
export async function collectStatus(
  config: Config,
  logger: Logger,
  now: () => number = Date.now,
  onProblem: (error: unknown) => void = () => undefined,
): Promise<PipelineStatus> {
  const problems: string[] = [];
  const ask: Ask = async (work) => {
    try {
      return await work;
    } catch (error) {
      onProblem(error);
      problems.push(describeError(error));
      return null;
    }
  };
  const [records, source, ...checkpoints] = await Promise.all([
    ask(readRecords(config, logger)),
    hasOwnSource(config) ? ask(readSourceFigures(config)) : null,
    ...config.targets.map((target) => ask(askTarget(config, target, ask))),
  ]);
  const services = listLines(config, records?.services ?? new Map(), now());
  const targets = config.targets.map((target, index) =>
    targetLine(config, target, checkpoints[index] ?? null, source, services),
  );
  return { name: config.name, services, targets, source, requests: records?.requests ?? [], problems };
}

/** Debezium's topics have no producer here, and their source is not asked. */
function hasOwnSource({ source }: Config): boolean {
  return (source.debezium ?? null) === null;
}

interface ControlRecords {
  readonly services: ReadonlyMap<string, StatusRecord>;
  readonly requests: readonly SnapshotRequest[];
}

export async function readRecords(config: Config, logger: Logger): Promise<ControlRecords> {
  const pool = openControlPool(config, logger);
  try {
    const services = new Map<string, StatusRecord>();
    const requests = new SnapshotRequests(() => Promise.resolve());
    const topic = controlTopic(config.name);
    if (!(await pool.isThere(topic))) return { services, requests: [] };
    for (const [key, value] of await readCompacted(pool, topic)) {
      const record = key.startsWith('status/') ? parseStatusRecord(value) : null;
      if (record !== null) services.set(key, record);
      if (key.startsWith(SNAPSHOT_PREFIX)) requests.take(key, value);
    }
    return { services, requests: requests.requests };
  } finally {
    await pool.close();
  }
}

interface AskedTarget {
  readonly checkpoint: Checkpoint | null;
  readonly counts: DeadLetterCounts;
  readonly lanes: readonly LaneProgress[];
  readonly replay: Replay | null;
  /** null where the journal cannot be believed: what else the target says can. */
  readonly migration: MigrationFacts | null;
}

async function askTarget(config: Config, target: TargetConfig, ask: Ask): Promise<AskedTarget> {
  const client = await connectTarget(config, target);
  try {
    const counts = (await hasDeadLetters(client))
      ? await new DeadLetterStore(client, config.name).counts()
      : { waiting: 0, heldKeys: 0 };
    const replay = await findReplay(client, config.name);
    const checkpoint = await readCheckpoint(client, config.name);
    const lanes = (await hasSpreads(client)) ? await readProgress(client, config.name) : [];
    const migration = await ask(readMigration(client, config, target, checkpoint));
    return { checkpoint, counts, lanes, replay, migration };
  } finally {
    await client.end();
  }
}

function listLines(config: Config, records: ReadonlyMap<string, StatusRecord>, now: number): ServiceLine[] {
  return [
    ...(hasOwnSource(config) ? [serviceLine('producer', '', records, now)] : []),
    ...config.outputs.map((output) => ({
      ...serviceLine('transformer', outputRef(config.outputs, output), records, now),
      quarantine: output.quarantine ?? 'stop',
    })),
    ...config.targets.map((target) => serviceLine('sink', target.name, records, now)),
  ];
}

export function serviceLine(
  service: ServiceStatus['service'],
  instance: string,
  records: ReadonlyMap<string, StatusRecord>,
  now: number,
): ServiceLine {
  const record = records.get(statusKey(service, instance));
  if (record === undefined) {
    return {
      service,
      instance,
      state: 'down',
      detail: 'never heard',
      through: '',
      lagBytes: 0,
      lagEvents: 0,
      lagSeconds: 0,
      address: '',
      pid: null,
      silentSeconds: null,
      events: null,
      load: null,
      wal: null,
      flow: null,
      deadLetters: null,
      quarantine: null,
    };
  }
  const { status } = record;
  const silentMs = Math.max(0, now - record.at);
  const isSilent = silentMs > STATUS_STALE_MS;
  const silence = `last heard ${Math.round(silentMs / 1_000)} s ago as ${status.state}${status.detail === '' ? '' : `: ${status.detail}`}`;
  return {
    service,
    instance,
    state: isSilent ? 'down' : status.state,
    detail: isSilent ? silence : status.detail,
    through: status.through,
    lagBytes: status.lagBytes,
    lagEvents: status.lagEvents,
    lagSeconds: status.lagSeconds,
    address: record.address,
    pid: record.pid,
    silentSeconds: silentMs / 1_000,
    events: status.events,
    load: status.load,
    // A service of before there were figures has none.
    wal: status.wal ?? null,
    flow: isSilent ? null : (status.flow ?? null),
    deadLetters: service === 'transformer' ? status.deadLetters : null,
    quarantine: null,
  };
}

function targetLine(
  config: Config,
  target: TargetConfig,
  asked: AskedTarget | null,
  source: SourceFigures | null,
  services: readonly ServiceLine[],
): TargetLine {
  const checkpoint = asked?.checkpoint ?? null;
  const lag = checkpoint === null || source === null ? null : parseLsn(source.current) - parseLsn(checkpoint.through);
  const lagBytes = lag === null ? null : Math.max(0, Number(lag));
  const ahead = forecastOf(config, target, services, lagBytes);
  return {
    name: target.name,
    output: target.output,
    through: checkpoint?.through ?? null,
    isLoadDone: checkpoint?.isLoadDone ?? false,
    lagBytes,
    deadLetters: asked?.counts.waiting ?? null,
    heldKeys: asked?.counts.heldKeys ?? null,
    quarantine: target.quarantine ?? 'stop',
    ordering: target.ordering ?? 'transaction',
    lanes: (asked?.lanes ?? []).map(({ lane, through }) => ({ lane, through: formatLsn(through) })),
    replay: replayLine(asked?.replay ?? null),
    migration: asked?.migration == null || !hasOwnSource(config) ? null : migrationLine(asked.migration, ahead),
    forecast: ahead,
  };
}

/** Along the way of what the target gets: the producer, its output's transformer, its sink. */
function forecastOf(
  { outputs }: Config,
  target: TargetConfig,
  services: readonly ServiceLine[],
  lagBytes: number | null,
): Forecast {
  const output = findOutput(outputs, target.output);
  const instances = {
    producer: '',
    transformer: output === undefined ? null : outputRef(outputs, output),
    sink: target.name,
  };
  const stages = services.filter(({ service, instance }) => instance === instances[service]);
  const producer = stages.find(({ service }) => service === 'producer');
  return forecast(stages, lagBytes, producer?.wal?.bytesPerSecond ?? null);
}

/** One that is done and has no bound says nothing of the target any more. */
function replayLine(replay: Replay | null): ReplayLine | null {
  if (replay === null || (replay.isFinished && replay.bound === null)) return null;
  const { from, isFinished, bound } = replay;
  return { from, isFinished, bound: bound === null ? null : formatLsn(bound) };
}
