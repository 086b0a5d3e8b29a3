import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type pg from 'pg';
import { addEnumLabels } from '#adapters/postgres/target/alter-table.ts';
import { actAsReplica, endStaleSessions } from '#adapters/postgres/target/apply-session.ts';
import { DeadLetterStore, prepareDeadLetters } from '#adapters/postgres/target/dead-letter-store.ts';
import { LateState } from '#adapters/postgres/target/late-state.ts';
import { TargetState, type Checkpoint } from '#adapters/postgres/target/target-state.ts';
import type { TargetConfig } from '#core/config.ts';
import type { HoldGate, PauseGate } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import { LagMeter, watchLag } from '#core/lag-meter.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import { originMode, REPLICA_MODE, type ApplyMode } from './apply-mode.ts';
import { relayDeadLetters, type SendDeadLetters } from './dead-letter-relay.ts';
import { DeadLetterWriter } from './dead-letter-writer.ts';
import { LateLoad } from './late-load.ts';
import { runLoadPass } from './load-pass.ts';
import { TablesPlace } from './load-place.ts';
import { Quarantine, type PartPlace } from './quarantine.ts';
import { requireSameOutput } from './same-output.ts';
import { ShadowPlace } from './shadow-place.ts';
import { SlotBook } from './slot-book.ts';
import { StreamPass } from './stream-pass.ts';
import { StructureBook } from './structure-book.ts';

/** What one attempt of a sink needs; everything that talks to the outside is handed in. */
export interface SinkParts {
  readonly pipeline: string;
  readonly target: TargetConfig;
  readonly reader: EpochReader;
  /** Of the raw topics, for figures only: `reader` itself where the sink reads those. */
  readonly raw: Pick<EpochReader, 'last'>;
  readonly schemasTopic: string;
  readonly readStructures: () => Promise<Iterable<Buffer>>;
  readonly connect: () => Promise<pg.Client>;
  readonly schema: TargetSchema;
  readonly status: ServiceStatus;
  readonly gate: PauseGate;
  readonly hold: HoldGate;
  readonly logger: Logger;
  readonly failpoints: Failpoints;
  readonly clock: () => number;
  /** Absent: dead letters stay in the target alone. */
  readonly sendDeadLetters?: SendDeadLetters;
}

/** One attempt, by the holder of the lease: goes on where the checkpoint says, until aborted or until something fails. */
export async function sink(parts: SinkParts, signal: AbortSignal): Promise<void> {
  const ended = new AbortController();
  const lag = new LagMeter(parts.schemasTopic);
  const client = await parts.connect();
  const figures = watchLag({ ...parts, meter: lag }, AbortSignal.any([signal, ended.signal]));
  try {
    await goOn(parts, client, lag, signal);
  } finally {
    ended.abort();
    await Promise.all([figures, client.end().catch(() => undefined)]);
  }
}

async function goOn(parts: SinkParts, client: pg.Client, lag: LagMeter, signal: AbortSignal): Promise<void> {
  const { logger, pipeline, reader, schema, status, target, failpoints } = parts;
  const isReplica = await actAsReplica(client);
  const stale = await endStaleSessions(client);
  if (stale > 0) logger.warn({ ended: stale }, 'ended sessions that an earlier sink left');
  const prefix = parts.schemasTopic.replace(/\.schemas$/, '');
  const state = new TargetState(pipeline, randomUUID());
  const structures = new StructureBook(reader, parts.schemasTopic, await parts.readStructures());
  const whenRunning = (): Promise<void> => parts.gate.whenRunning(signal);
  const applyMode = isReplica ? REPLICA_MODE : originMode(pipeline, state, failpoints);
  if (!isReplica) logger.info('the role may not set session_replication_role: triggers are off until the switch');
  failpoints.hit('sink.takeover.before');
  const known = await state.open(client);
  failpoints.hit('sink.takeover.after');
  if (await applyMode.isOver(client)) return restForGood(parts, signal);
  if (known === null) await state.requireUnbegun(client);
  else {
    await state.requireWhole(client, known);
    requireSameOutput([...(await state.tableLoads(client)).keys()], prefix, target.name);
    await requireSameLife(parts, known, signal);
  }
  const checkpoint = known ?? (await findPlan(parts, state, structures, client, signal));
  if (checkpoint === null || signal.aborted) return;
  status.through = formatLsn(checkpoint.through);
  if (checkpoint.pass === 1) {
    const connect = (): Promise<pg.Client> => connectApply(parts);
    const { loadWorkers: workers } = target;
    const place = new TablesPlace({ state, structures, applyMode, failpoints });
    const tools = { structures, state, place, client, lag, whenRunning };
    const options = { ...tools, reader, connect, workers, status, failpoints };
    lag.begin('load');
    if (!(await runLoadPass(options, checkpoint.planOffset, signal))) return;
    status.state = 'indexing';
    await schema.postLoad();
    failpoints.hit('sink.startStream.before');
    await state.startStream(client, checkpoint.planOffset);
    failpoints.hit('sink.startStream.after');
  }
  await stream(parts, { client, state, structures, applyMode, checkpoint, lag, whenRunning }, signal);
}

interface StreamTools {
  readonly client: pg.Client;
  readonly state: TargetState;
  readonly structures: StructureBook;
  readonly applyMode: ApplyMode;
  readonly checkpoint: Checkpoint;
  readonly lag: LagMeter;
  readonly whenRunning: () => Promise<void>;
}

async function stream(parts: SinkParts, tools: StreamTools, signal: AbortSignal): Promise<void> {
  const { reader, schema, status, clock, logger, failpoints } = parts;
  const { client, state, structures, applyMode, checkpoint } = tools;
  status.state = 'streaming';
  status.load.isDone = checkpoint.isLoadDone;
  tools.lag.begin('stream');
  const readTables = async (): Promise<TableStructure[]> =>
    [...(await state.tableLoads(client)).keys()].map((topic) => structures.newest(topic));
  await applyMode.prepare(client, await readTables(), checkpoint.isLoadDone);
  await prepareDeadLetters(client);
  const pass = new StreamPass({
    ...tools,
    reader,
    readLoads: () => state.tableLoads(client),
    late: openLateLoad(parts, tools, readTables),
    status,
    hold: parts.hold,
    addLabels: (table, changes) => addLabels(parts, table, changes),
    clock,
    failpoints,
    isLoadDone: checkpoint.isLoadDone,
    readRanks: async () => applyMode.ranks(client, await readTables()),
    quarantine: openQuarantine(parts, tools, readTables),
    onCaughtUp: async () => {
      await schema.whenCaughtUp();
      failpoints.hit('sink.finishLoad.before');
      await state.finishLoad(client);
      failpoints.hit('sink.finishLoad.after');
      status.load.isDone = true;
      logger.info('the load is done');
    },
  });
  await pass.run(checkpoint.pass === 1 ? checkpoint.planOffset : checkpoint.nextOffset, checkpoint.through, signal);
}

function openLateLoad(parts: SinkParts, tools: StreamTools, readTables: () => Promise<TableStructure[]>): LateLoad {
  const { pipeline, reader, status, failpoints, target } = parts;
  const { client, state, structures, applyMode } = tools;
  const late = new LateState(pipeline);
  const place = new ShadowPlace({
    pipeline,
    state,
    late,
    makesTables: parts.schema.makesTables,
    prepare: (tables) => applyMode.prepare(client, tables, false),
    addLabels: (table, changes) => addLabels(parts, table, changes),
    failpoints,
  });
  const connect = (): Promise<pg.Client> => connectApply(parts);
  const options = { ...tools, reader, place, connect, workers: target.loadWorkers, status, failpoints };
  return new LateLoad({
    pipeline,
    client,
    state,
    late,
    structures,
    prepare: async () => applyMode.prepare(client, await readTables(), false),
    runPass: (from, signal) => runLoadPass(options, from, signal),
    failpoints,
  });
}

function openQuarantine(
  parts: SinkParts,
  tools: StreamTools,
  tables: () => Promise<readonly TableStructure[]>,
): Quarantine {
  const { pipeline, target, reader, schemasTopic, sendDeadLetters, failpoints, status, logger } = parts;
  const { client, structures, checkpoint } = tools;
  const store = new DeadLetterStore(client, pipeline);
  const slots = new SlotBook(client);
  const writer = new DeadLetterWriter({
    reader,
    structures,
    store,
    slots,
    incarnation: checkpoint.incarnation,
    service: `sink ${target.name}`,
    epochsTopic: schemasTopic.replace(/schemas$/, 'epochs'),
  });
  return new Quarantine<PartPlace>({
    policy: target.quarantine ?? 'stop',
    client,
    store,
    slots,
    writer,
    tables,
    relay: () =>
      sendDeadLetters === undefined ? Promise.resolve() : relayDeadLetters(store, sendDeadLetters, failpoints),
    status,
    logger,
  });
}

async function addLabels(parts: SinkParts, table: TableStructure, changes: readonly ColumnChange[]): Promise<void> {
  if (!changes.some(({ kind }) => kind === 'retype')) return;
  const client = await parts.connect();
  try {
    await addEnumLabels(client, table, changes);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Waits for the pipeline's first plan, and begins with it; null when aborted before. The tables come first: a target that
 * cannot take them is left as it was found.
 */
async function findPlan(
  parts: SinkParts,
  state: TargetState,
  structures: StructureBook,
  client: pg.Client,
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
    await state.prepare(client);
    failpoints.hit('sink.state.after');
    failpoints.hit('sink.begin.before');
    await state.begin(client, plan.manifest.incarnation, plan.offset, through);
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

/** One more session that applies, in the first one's mode. */
async function connectApply(parts: SinkParts): Promise<pg.Client> {
  const client = await parts.connect();
  await actAsReplica(client);
  return client;
}

/** Triggers of the target work for its application now, and would for us: held until the process is stopped. */
async function restForGood({ status, logger }: SinkParts, signal: AbortSignal): Promise<void> {
  status.state = 'paused';
  status.detail = 'restage schema finish gave this target to its application: nothing more is applied to it';
  logger.warn(status.detail);
  if (!signal.aborted) await once(signal, 'abort');
}

/** @throws RestageError state_foreign when the checkpoint is of another life of the pipeline, history_lost when Kafka has no such plan. */
export async function requireSameLife(
  { reader }: Pick<SinkParts, 'reader'>,
  checkpoint: Checkpoint,
  signal: AbortSignal,
): Promise<void> {
  if ((await reader.end()) <= checkpoint.planOffset) {
    throw new RestageError('history_lost', 'Kafka has less of this pipeline than the target has applied', {
      where: `restage.checkpoint begins at offset ${checkpoint.planOffset} of .epochs, which ends before it`,
      fix: 'correct kafka.brokers; if the topics were deleted, use an empty target and another pipeline name',
    });
  }
  for await (const manifests of reader.manifests(checkpoint.planOffset, signal)) {
    const incarnation = manifests[0]?.manifest.incarnation ?? '';
    if (incarnation === checkpoint.incarnation) return;
    throw new RestageError('state_foreign', "the target's state belongs to another life of this pipeline", {
      where: `restage.checkpoint has incarnation ${checkpoint.incarnation}, Kafka ${incarnation}`,
      fix: 'use an empty target, or another pipeline name',
    });
  }
}
