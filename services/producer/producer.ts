import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { ensureDdlTrigger } from '#adapters/postgres/source/ddl-trigger.ts';
import { keepPublished, readPublicationFacts } from '#adapters/postgres/source/publication-facts.ts';
import { ensurePublication } from '#adapters/postgres/source/publication.ts';
import { ReplicationStream } from '#adapters/postgres/source/replication-stream.ts';
import { readSlot } from '#adapters/postgres/source/slot.ts';
import { currentLsn, identifySource } from '#adapters/postgres/source/source-identity.ts';
import { pause } from '#core/backoff.ts';
import { VisibleCommits } from '#adapters/postgres/source/visible-commits.ts';
import { BoundedQueue } from '#core/bounded-queue.ts';
import { hasDebezium } from '#core/config.ts';
import { reactTo } from '#core/error-policy.ts';
import type { Lsn } from '#core/lsn.ts';
import { Notifier } from '#core/notifier.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey } from '#core/table-name.ts';
import { isChosen } from '#core/table-patterns.ts';
import { CapturePolicy } from '#core/rules/capture-policy.ts';
import { keyPartitioner } from '#core/partitioner.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { ensureSlot, requireOwnSlot, type BornSlot } from './birth.ts';
import { requireSameCapture } from './capture-guard.ts';
import { findTables } from './choose-tables.ts';
import { capture } from './capture.ts';
import { openDebezium } from './debezium-parts.ts';
import { DebeziumStream } from './debezium-stream.ts';
import { ChangeAssembler, HEARTBEAT_PREFIX } from './change-assembler.ts';
import { weightOf, type LoadItem } from './load-item.ts';
import { requireHeldSlot } from './held-slot.ts';
import { LoadedTables } from '#core/debezium/loaded-tables.ts';
import { LoadSnapshots } from './load-snapshots.ts';
import { findAnnounced } from './find-announced.ts';
import { LateLoads } from './late-loads.ts';
import { ManifestBook } from './manifest-book.ts';
import { PartitionBook } from './partition-book.ts';
import type { ProducerParts } from './producer-parts.ts';
import { ProducerLoads, watchNewTables } from './producer-loads.ts';
import { LOAD_PARTS, Publisher } from './publisher.ts';
import { RelationBook } from './relation-book.ts';
import { keeperApplication, producerLease } from '#core/session-names.ts';
import type { RewriteMark } from './rewrites.ts';
import { requireSameHistory } from './same-history.ts';
import { requireLogicalWal, requireSameSource, requireSameTimeline } from './source-guard.ts';
import { repairSlot } from './slot-repair.ts';
import { StreamEpochs, type StreamPart } from './stream-epochs.ts';
import { openTableNames } from './table-names.ts';
import { TableTopics } from './table-topics.ts';
import { findUnfinished } from './unfinished-load.ts';
import { WrittenStructures } from './written-structures.ts';

const PARTS_WAITING = 2;
const LOAD_ITEMS_WAITING = 4;
const FIGURES_INTERVAL_MS = 2_000;

/**
 * One attempt, by the holder of the lease: opens the writer, goes on where the last manifest says, and runs capture, load
 * and publisher until aborted (then what is complete is written and confirmed) or until one of them fails (then all end).
 */
export async function produce(parts: ProducerParts, signal: AbortSignal): Promise<void> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    await new ProducerRun(parts, closers).run(signal);
  } finally {
    for (const close of closers.toReversed())
      await close().catch((error: unknown) => parts.logger.debug({ error }, 'closing failed'));
  }
}

class ProducerRun {
  readonly #parts: ProducerParts;
  readonly #closers: (() => Promise<unknown>)[];

  constructor(parts: ProducerParts, closers: (() => Promise<unknown>)[]) {
    this.#parts = parts;
    this.#closers = closers;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { config, writer, status, logger, failpoints, clock, version } = this.#parts;
    const client = await this.#open(this.#parts.connectShared());
    await requireLogicalWal(client);
    await this.#parts.ground.open();
    const wanted = await findTables(config, client);
    await this.#parts.ensureTopics([]);
    await writer.open();
    const last = await writer.last();
    const replication = await this.#open(this.#parts.connectReplication());
    const identity = await identifySource(replication);
    requireSameSource(identity, last?.manifest ?? null);
    await requireSameTimeline(replication, identity, last?.manifest ?? null);
    await this.#parts.ground.take(client, wanted);
    const { partitions: count = 1 } = config.kafka;
    const manifests = new ManifestBook({ incarnation: randomUUID(), ...identity, partitions: count }, last);
    const written = new WrittenStructures(await this.#parts.readStructures());
    requireSameCapture(config, wanted, written);
    let announced = await findAnnounced(this.#parts.reader, manifests);
    // Tables that came after the first plan are loaded late: until then nothing of them is captured.
    const isPlanned = (manifests.last?.plan ?? null) !== null && written.topics.size > 0;
    const ended = new AbortController();
    const either = AbortSignal.any([signal, ended.signal]);
    this.#closers.push(() => Promise.resolve(ended.abort()));
    const tableTopics = this.#openTopics(either);
    if (isPlanned) await this.#parts.ensureTopics(wanted);
    else tableTopics.begin(wanted);
    const isCaptured = (table: TableStructure): boolean =>
      !isPlanned || written.hasTopic(table.topic) || announced?.tables.has(tableKey(table)) === true;
    failpoints.hit('producer.publication.before');
    const { publication } = config.source;
    const ensured = await ensurePublication(client, wanted.filter(isCaptured), {
      name: publication,
      pipeline: config.name,
      isFirst: !isPlanned,
    });
    if (ensured.isMade) logger.info({ publication }, 'publication made');
    const published = await readPublicationFacts(client, publication, ensured.tables);
    failpoints.hit('producer.publication.after');
    // Before the slot is there, so that whatever the stream has was told of.
    const trigger = config.source.ddlTrigger === 'off' ? null : await this.#ensureTrigger(client);
    const known = wanted.filter(({ topic }) => written.hasTopic(topic));
    const born = await this.#ensureSlot(client, manifests, known);
    if (born === null) await requireSameHistory({ ...this.#parts, client, last: manifests.last }, signal);
    const isDdlTold = trigger === 'there' || (trigger === 'made' && born !== null);
    if (born !== null) announced = await findAnnounced(this.#parts.reader, manifests);
    // A slot waits for running transactions: what they altered meanwhile is in its snapshot.
    const there = (born === null ? wanted : await findTables(config, client)).filter(isCaptured);
    // A table that came meanwhile is in the snapshot, and none of its changes in the stream: it is left to come as a new one.
    const chosen = isPlanned ? there : await keepPublished(client, publication, there, published);
    const debezium = await openDebezium(this.#parts, manifests);
    const loaded = new LoadedTables();
    const begun =
      announced?.isOfAll === false ? chosen.filter((table) => announced.tables.has(tableKey(table))) : chosen;
    const newestOf = (topic: string): TableStructure | null => written.newestOf(topic);
    const learnt = debezium === null ? null : loaded;
    const unfinished = await findUnfinished(this.#parts.reader, manifests, begun, newestOf, learnt);
    const topics = new Set(chosen.map(({ topic }) => topic));
    const newTables = watchNewTables(this.#parts, client, topics, written);
    const isByRoot = config.source.partitions === 'roots';
    const { onRewrite } = config.source;
    const partitions = isByRoot ? await PartitionBook.open(client, chosen, written, onRewrite) : null;
    if (isPlanned) await this.#parts.ensureTopics(chosen);
    else tableTopics.begin(chosen);
    await this.#parts.ground.remember(client, chosen, isPlanned ? chosen.map(({ topic }) => topic) : []);
    const notifier = new Notifier();
    const late = new LateLoads(
      () => notifier.notify(),
      () => manifests.floors,
    );
    const coverOf = (topic: string, commit: Lsn): ReturnType<LateLoads['coverOf']> =>
      late.coverOf(topic, commit, either);
    const book = new RelationBook({
      client,
      prefix: config.name,
      database: identity.database,
      version,
      publication,
      chosen,
      written,
      onUnknown: (table) => {
        if (isChosen(table, config.source.tables)) newTables.hurry();
      },
      debezium: debezium?.source ?? null,
      partitions,
      isDdlTold,
      hasFacts: hasDebezium(config),
      policy: new CapturePolicy(config),
      names: openTableNames(this.#parts, client, written, coverOf),
      coverOf,
    });
    const epochs = new StreamEpochs(manifests.resume(), keyPartitioner(count));
    const partQueue = new BoundedQueue<StreamPart | RewriteMark>(
      PARTS_WAITING,
      () => notifier.notify(),
      // A row may be many times as large as a part.
      (item) => ('bytes' in item ? Math.max(1, Math.floor(item.bytes / config.epoch.partBytes)) : 1),
    );
    const loadQueue = new BoundedQueue<LoadItem>(
      LOAD_ITEMS_WAITING,
      () => notifier.notify(),
      (item) => weightOf(item, config.epoch.partBytes / LOAD_PARTS),
    );
    const stream = new ReplicationStream(replication, config.source.slot, publication, manifests.through);
    this.#closers.push(() => stream.close());
    await requireHeldSlot(client, config.source.slot, stream, manifests.last, signal);
    const assembler = new ChangeAssembler({
      book,
      epochs,
      schemasTopic: schemasTopic(config.name),
      written,
      recentXid: await recentXid(client),
      status,
      clock,
      debezium:
        debezium === null
          ? null
          : new DebeziumStream({ ...debezium, database: identity.database, epochs, loaded, status, clock }),
    });
    const publisher = new Publisher({
      writer,
      book: manifests,
      epochs,
      parts: partQueue,
      load: loadQueue,
      late,
      notifier,
      limits: config.epoch,
      heartbeatMs: config.source.heartbeatMs,
      confirm: (through) => {
        failpoints.hit('producer.confirm.before');
        stream.confirm(through);
        failpoints.hit('producer.confirm.after');
      },
      status,
      clock,
      debezium: debezium?.heartbeat ?? null,
    });
    status.load.isDone = manifests.last?.loaded === true;
    status.state = status.load.isDone ? 'streaming' : 'loading';
    const snapshots = this.#openSnapshots(client);
    if (status.load.isDone) await snapshots.endAll();
    const loads = new ProducerLoads(this.#parts, {
      client,
      manifests,
      book,
      written,
      snapshots,
      queue: loadQueue,
      loaded,
      late,
      captured: topics,
      newTables,
      partitions,
      tableTopics,
    });
    const isFirst = !status.load.isDone && announced === null;
    const load = isFirst ? loads.first(born, unfinished, either) : Promise.resolve();
    const serve = (): Promise<void> => loads.serve(announced === null ? null : unfinished, either);
    const follow = (): Promise<void> =>
      capture(
        {
          stream: { frames: (until) => this.#parts.waits.through(stream.frames(until)) },
          book,
          commits: new VisibleCommits(client, logger),
          assembler,
          epochs,
          parts: partQueue,
          rewrites: this.#parts.rewrites,
          late,
          onRewrite,
          notifier,
          limits: config.epoch,
          gate: this.#parts.gate,
        },
        either,
      );
    const tasks = [
      // Only then every table's snapshot is known, and so what of the stream other readers have in it already.
      (debezium === null ? tableTopics.whenAllMade() : load).then(follow),
      load.then(serve),
      this.#watch(stream, manifests, epochs, partitions, either).catch((error: unknown) => {
        if (reactTo(error).do === 'stop') stream.freeze();
        throw error;
      }),
    ];
    try {
      await runTogether(tasks, publisher.run(either), ended, [partQueue, loadQueue]);
    } finally {
      if (signal.aborted && manifests.last?.loaded !== true) snapshots.noteStop(config.source.keepSnapshotMinutes);
    }
  }

  /** null: there are none. */
  async #ensureTrigger(client: pg.Client): Promise<'there' | 'made' | null> {
    const { failpoints, logger } = this.#parts;
    failpoints.hit('producer.ddlTrigger.before');
    const trigger = await ensureDdlTrigger(client);
    failpoints.hit('producer.ddlTrigger.after');
    if (trigger === 'made') logger.info('event triggers made, which tell of ALTER TABLE and ALTER TYPE in the stream');
    else if (trigger !== 'there')
      logger.info(
        { reason: trigger.refused },
        'no event trigger tells of DDL: tables are followed with their next changes, rewrites too (docs/ddl.md)',
      );
    return typeof trigger === 'string' ? trigger : null;
  }

  /** `captured`: what a slot that was given up is made good for by a load. */
  async #ensureSlot(
    client: pg.Client,
    book: ManifestBook,
    captured: readonly TableStructure[],
  ): Promise<BornSlot | null> {
    const { config, writer, application, connectReplication, failpoints, logger } = this.#parts;
    const { source } = config;
    const options = { client, connectReplication, source, application, writer, book, failpoints };
    const isRepaired = book.last?.released === true;
    if (isRepaired) logger.warn('the slot was given up: a new one is made, and every table is loaded anew');
    const born = isRepaired ? await repairSlot(options, captured) : await ensureSlot(options);
    if (born !== null) this.#closers.push(() => born.session.end());
    return born;
  }

  /** Of the first load; they are made, or not, when this attempt ends. */
  #openTopics(signal: AbortSignal): TableTopics {
    const { ground, makeTopics, failpoints } = this.#parts;
    const topics = new TableTopics({
      make: makeTopics,
      signal,
      remember: async (made) => {
        failpoints.hit('producer.tableTopics.before');
        await ground.rememberTopics(made);
        failpoints.hit('producer.tableTopics.after');
      },
    });
    this.#closers.push(() => topics.close());
    return topics;
  }

  #openSnapshots(client: pg.Client): LoadSnapshots {
    const { config, connect, connectReplication, startKeeper, leaseBackend, logger, failpoints } = this.#parts;
    const { slot } = config.source;
    const application = keeperApplication(config.name);
    const lease = { name: producerLease(config.name), backend: leaseBackend };
    const tools = { client, connect, connectReplication, startKeeper, logger, failpoints };
    const snapshots = new LoadSnapshots({ ...tools, slot, application, lease });
    this.#closers.push(() => snapshots.close());
    return snapshots;
  }

  /** Figures for status, and the heartbeat: an idle database's slot moves only when its WAL does. */
  async #watch(
    stream: ReplicationStream,
    manifests: ManifestBook,
    epochs: StreamEpochs,
    partitions: PartitionBook | null,
    signal: AbortSignal,
  ): Promise<void> {
    const { config, status, clock, ground } = this.#parts;
    const client = await this.#open(this.#parts.connect());
    let beatAt = clock();
    let reached = epochs.reached;
    while (!signal.aborted) {
      await pause(FIGURES_INTERVAL_MS, signal);
      const slot = await readSlot(client, config.source.slot);
      await partitions?.requireAllKept();
      requireOwnSlot(config.source.slot, slot, manifests.last);
      await ground.require(client);
      status.lagBytes = Math.max(0, Number((await currentLsn(client)) - stream.confirmed));
      if (clock() - beatAt < config.source.heartbeatMs && manifests.floors.length === 0) continue;
      beatAt = clock();
      const isIdle = epochs.reached === reached && !epochs.hasContent;
      reached = epochs.reached;
      if (isIdle) await emitHeartbeat(client);
    }
  }

  async #open(opening: Promise<pg.Client>): Promise<pg.Client> {
    const client = await opening;
    this.#closers.push(() => client.end());
    return client;
  }
}

async function emitHeartbeat(client: pg.Client): Promise<void> {
  await client.query(`SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_logical_emit_message(true, $1, '') END`, [
    HEARTBEAT_PREFIX,
  ]);
}

async function recentXid(client: pg.Client): Promise<bigint> {
  const [row] = (await client.query<{ xmax: string }>('SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS xmax'))
    .rows;
  return BigInt(row?.xmax ?? '0');
}

/** The first failure ends the others; the publisher ends last, so that a drain writes what is complete. */
async function runTogether(
  tasks: readonly Promise<void>[],
  publisher: Promise<void>,
  ended: AbortController,
  queues: readonly Pick<BoundedQueue<unknown>, 'close'>[],
): Promise<void> {
  let failure: { readonly error: unknown } | null = null;
  const fail = (error: unknown): void => {
    failure ??= { error };
    ended.abort();
    for (const queue of queues) queue.close(error);
  };
  const guarded = [...tasks, publisher].map((task) => task.catch(fail));
  await guarded.at(-1);
  for (const queue of queues) queue.close(new Error('the producer ended'));
  await Promise.all(guarded);
  if (failure !== null) throw (failure as { readonly error: unknown }).error;
}
