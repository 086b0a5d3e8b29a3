import { once } from 'node:events';
import type { LanePosition } from '#adapters/postgres/target/spread-state.ts';
import type { Checkpoint } from '#adapters/postgres/target/target-state.ts';
import type { TargetConfig } from '#core/config.ts';
import type { HoldGate, PauseGate } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { LagMeter } from '#core/lag-meter.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import { whileGuarded } from '#core/while-guarded.ts';
import { originMode, REPLICA_MODE, type ApplyMode } from './apply-mode.ts';
import { relayDeadLetters, type SendDeadLetters } from './dead-letter-relay.ts';
import { DeadLetterWriter } from './dead-letter-writer.ts';
import { needsReplica } from './needs-replica.ts';
import { LateLoad } from './late-load.ts';
import { runLoadPass } from './load-pass.ts';
import { TablesPlace } from './load-place.ts';
import { Quarantine, type PartPlace } from './quarantine.ts';
import { requireSameOutput } from './same-output.ts';
import { requireSameLife } from './same-life.ts';
import { ShadowPlace } from './shadow-place.ts';
import { SlotBook } from './slot-book.ts';
import { SpreadPass } from './spread-pass.ts';
import { StreamPass } from './stream-pass.ts';
import { StructureBook } from './structure-book.ts';
import type { TargetSession, TargetSessions } from './target.ts';

/** What one attempt needs; everything that talks to the outside is handed in. */
export interface AttemptParts {
  readonly pipeline: string;
  readonly target: TargetConfig;
  readonly reader: EpochReader;
  readonly schemasTopic: string;
  readonly readStructures: () => Promise<Iterable<Buffer>>;
  readonly sessions: TargetSessions;
  readonly lag: LagMeter;
  readonly schema: TargetSchema;
  readonly status: ServiceStatus;
  readonly gate: PauseGate;
  readonly hold: HoldGate;
  readonly logger: Logger;
  readonly failpoints: Failpoints;
  readonly clock: () => number;
  /** Into how many lanes the stream is spread (ordering: key). Absent: this sink keeps whole transactions. */
  readonly lanes?: number;
  /** How often lanes that move are looked at, milliseconds. Absent: ten times a second. */
  readonly lanesPollMs?: number;
  /** Serves so many lanes in this process, until aborted. Absent: others do. */
  readonly serveLanes?: (lanes: number, signal: AbortSignal) => Promise<void>;
  /** Absent: dead letters stay in the target alone. */
  readonly sendDeadLetters?: SendDeadLetters;
}

const LANES_POLL_MS = 100;

/** Goes on where the target's position says, until aborted or until something fails. */
export async function attemptSink(parts: AttemptParts, signal: AbortSignal): Promise<void> {
  const session = await parts.sessions.open();
  try {
    await goOn(parts, session, signal);
  } finally {
    await session.end();
  }
}

async function goOn(parts: AttemptParts, session: TargetSession, signal: AbortSignal): Promise<void> {
  const { logger, reader, schema, status, target, failpoints, sessions, lag } = parts;
  const { takeover, position } = session;
  const isReplica = await takeover.actAsReplica();
  const stale = await takeover.endStale();
  if (stale > 0) logger.warn({ ended: stale }, 'ended sessions that an earlier sink left');
  const structures = new StructureBook(reader, parts.schemasTopic, await parts.readStructures());
  const whenRunning = (): Promise<void> => parts.gate.whenRunning(signal);
  const applyMode = isReplica ? REPLICA_MODE : originMode(failpoints);
  if (!isReplica && parts.lanes !== undefined) throw needsReplica(target.name);
  if (!isReplica) logger.info('the role may not set session_replication_role: triggers are off until the switch');
  failpoints.hit('sink.takeover.before');
  const known = await position.open();
  failpoints.hit('sink.takeover.after');
  if (await applyMode.isOver(session)) return restForGood(parts, signal);
  await position.require(known);
  if (known !== null) {
    requireSameOutput(
      [...(await session.loads.tables()).keys()],
      parts.schemasTopic.replace(/\.schemas$/, ''),
      target.name,
    );
    await requireSameLife(parts, known, signal);
  }
  const checkpoint = known ?? (await findPlan(parts, session, structures, signal));
  if (checkpoint === null || signal.aborted) return;
  status.through = formatLsn(checkpoint.through);
  if (checkpoint.pass === 1) {
    const { loadWorkers: workers } = target;
    const place = new TablesPlace({ structures, applyMode, failpoints });
    const tools = { structures, place, session, lag, whenRunning };
    const options = { ...tools, reader, target: sessions, workers, status, failpoints };
    lag.begin('load');
    if (!(await runLoadPass(options, checkpoint.planOffset, signal))) return;
    status.state = 'indexing';
    await schema.postLoad();
    failpoints.hit('sink.startStream.before');
    await position.enter({ stream: checkpoint.planOffset });
    failpoints.hit('sink.startStream.after');
  }
  await stream(parts, { session, structures, applyMode, checkpoint, lag, whenRunning }, signal);
}

interface StreamTools {
  readonly session: TargetSession;
  readonly structures: StructureBook;
  readonly applyMode: ApplyMode;
  readonly checkpoint: Checkpoint;
  readonly lag: LagMeter;
  readonly whenRunning: () => Promise<void>;
}

async function stream(parts: AttemptParts, tools: StreamTools, signal: AbortSignal): Promise<void> {
  const { reader, schema, status, clock, logger, failpoints } = parts;
  const { session, structures, applyMode } = tools;
  status.state = 'streaming';
  status.load.isDone = tools.checkpoint.isLoadDone;
  tools.lag.begin('stream');
  const readTables = async (): Promise<TableStructure[]> =>
    [...(await session.loads.tables()).keys()].map((topic) => structures.newest(topic));
  const spread = await openSpread(parts, tools, readTables);
  const checkpoint = await endSpread(parts, tools.checkpoint, spread, signal);
  if (checkpoint === null) return;
  await applyMode.prepare(session, await readTables(), checkpoint.isLoadDone);
  await session.takeover.prepareLetters();
  const pass = new StreamPass({
    ...tools,
    reader,
    readLoads: () => session.loads.tables(),
    late: openLateLoad(parts, tools, readTables),
    spread,
    status,
    hold: parts.hold,
    addLabels: (table, changes) => parts.sessions.addLabels(table, changes),
    clock,
    failpoints,
    isLoadDone: checkpoint.isLoadDone,
    readRanks: async () => applyMode.ranks(session, await readTables()),
    quarantine: openQuarantine(parts, tools, readTables),
    onCaughtUp: async () => {
      await schema.whenCaughtUp();
      failpoints.hit('sink.finishLoad.before');
      await session.position.enter('loadDone');
      failpoints.hit('sink.finishLoad.after');
      status.load.isDone = true;
      logger.info('the load is done');
    },
  });
  await pass.run(checkpoint.pass === 1 ? checkpoint.planOffset : checkpoint.nextOffset, checkpoint.through, signal);
}

/** What an earlier life opened is this one's to lead. */
async function openSpread(
  parts: AttemptParts,
  { session, lag }: StreamTools,
  readTables: () => Promise<TableStructure[]>,
): Promise<SpreadPass> {
  const { gate, lanes = null, lanesPollMs: pollMs = LANES_POLL_MS } = parts;
  await session.transaction.begin('UPDATE');
  const open = await session.spread.adopt();
  await session.transaction.commit();
  return new SpreadPass({ ...parts, session, lag, readTables, lanes, isPaused: () => gate.isPaused, pollMs }, open);
}

/** A sink that keeps whole transactions first lets lanes meet that others opened: it serves them itself. null when aborted before. */
async function endSpread(
  parts: AttemptParts,
  checkpoint: Checkpoint,
  spread: SpreadPass,
  signal: AbortSignal,
): Promise<Checkpoint | null> {
  const { lanes, serveLanes = () => Promise.resolve(), logger } = parts;
  if (spread.open === null || lanes !== undefined) return checkpoint;
  logger.info(
    'lanes have applied here (ordering: key): they go on to one position, and then whole transactions are kept',
  );
  const { lanes: count } = spread.open;
  const met: (LanePosition | null)[] = [];
  await whileGuarded(
    signal,
    (until) => serveLanes(count, until),
    async (until) => void met.push(await spread.run({ ...checkpoint, epoch: 0 }, until)),
  );
  const at = met[0] ?? null;
  return at === null ? null : { ...checkpoint, nextOffset: at.nextOffset, through: at.through };
}

function openLateLoad(parts: AttemptParts, tools: StreamTools, readTables: () => Promise<TableStructure[]>): LateLoad {
  const { reader, status, failpoints, sessions, target } = parts;
  const { session, structures, applyMode } = tools;
  const place = new ShadowPlace({
    makesTables: parts.schema.makesTables,
    prepare: (tables) => applyMode.prepare(session, tables, false),
    addLabels: (table, changes) => sessions.addLabels(table, changes),
    failpoints,
  });
  const options = { ...tools, reader, place, target: sessions, workers: target.loadWorkers, status, failpoints };
  return new LateLoad({
    reader,
    session,
    structures,
    prepare: async () => applyMode.prepare(session, await readTables(), false),
    runPass: (from, signal) => runLoadPass(options, from, signal),
    failpoints,
  });
}

function openQuarantine(
  parts: AttemptParts,
  tools: StreamTools,
  tables: () => Promise<readonly TableStructure[]>,
): Quarantine {
  const { target, reader, schemasTopic, sendDeadLetters, failpoints, status, logger } = parts;
  const { session, structures, checkpoint } = tools;
  const slots = new SlotBook(session.catalog);
  const writer = new DeadLetterWriter({
    reader,
    structures,
    store: session.letters,
    slots,
    incarnation: checkpoint.incarnation,
    service: `sink ${target.name}`,
    epochsTopic: schemasTopic.replace(/schemas$/, 'epochs'),
  });
  return new Quarantine<PartPlace>({
    policy: target.quarantine ?? 'stop',
    session,
    slots,
    writer,
    tables,
    relay: () =>
      sendDeadLetters === undefined
        ? Promise.resolve()
        : relayDeadLetters(session.letters, sendDeadLetters, failpoints),
    status,
    logger,
  });
}

/**
 * Waits for the pipeline's first plan, and begins with it; null when aborted before. The tables come first: a target that
 * cannot take them is left as it was found.
 */
async function findPlan(
  parts: AttemptParts,
  session: TargetSession,
  structures: StructureBook,
  signal: AbortSignal,
): Promise<Checkpoint | null> {
  parts.status.detail = 'waits for the producer to plan the initial load';
  for await (const manifests of parts.reader.manifests(0n, signal)) {
    const plan = manifests.find(({ manifest }) => manifest.kind === 'plan');
    if (plan === undefined) continue;
    const through = parseLsn(plan.manifest.through);
    const tables = await structures.planned(plan.manifest, signal);
    if (signal.aborted) return null;
    const { failpoints } = parts;
    await parts.schema.preData(tables);
    failpoints.hit('sink.state.before');
    await session.takeover.prepareState();
    failpoints.hit('sink.state.after');
    failpoints.hit('sink.begin.before');
    await session.position.begin(plan.manifest.incarnation, plan.offset, through);
    failpoints.hit('sink.begin.after');
    parts.status.detail = '';
    return {
      incarnation: plan.manifest.incarnation,
      pass: 1,
      planOffset: plan.offset,
      nextOffset: plan.offset,
      through,
      isLoadDone: false,
    };
  }
  return null;
}

/** Triggers of the target work for its application now, and would for us: held until the process is stopped. */
async function restForGood({ status, logger }: AttemptParts, signal: AbortSignal): Promise<void> {
  status.state = 'paused';
  status.detail = 'restage schema finish gave this target to its application: nothing more is applied to it';
  logger.warn(status.detail);
  if (!signal.aborted) await once(signal, 'abort');
}
