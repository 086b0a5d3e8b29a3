import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { startOffset } from '#adapters/kafka/offsets.ts';
import { listTopics } from '#adapters/kafka/topic-list.ts';
import { actAsReplica, endStaleSessions } from '#adapters/postgres/target/apply-session.ts';
import {
  countMissing,
  DebeziumState,
  newTopicState,
  readTopicStates,
  type TopicState,
} from '#adapters/postgres/target/debezium-state.ts';
import { DeadLetterStore, prepareDeadLetters } from '#adapters/postgres/target/dead-letter-store.ts';
import { TargetState } from '#adapters/postgres/target/target-state.ts';
import { pause } from '#core/backoff.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { ServiceContext } from '#core/control.ts';
import { eventReader, keyReader } from '#core/debezium-source/event.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { RestageError } from '#core/errors.ts';
import { formatLsn, LSN_ZERO, type Lsn } from '#core/lsn.ts';
import { formatTable, quoteIdentifier } from '#core/table-name.ts';
import { readTables } from '#adapters/postgres/catalog.ts';
import { relayDeadLetters, type SendDeadLetters } from '../dead-letter-relay.ts';
import { BatchQuarantine } from './batch-quarantine.ts';
import { EventIntake } from './event-intake.ts';
import { RecordReader } from './record-reader.ts';
import { RowWriter } from './row-writer.ts';
import { SinkLoop } from './sink-loop.ts';
import { TableBook } from './table-book.ts';
import { TargetWriter } from './target-writer.ts';
import { TopicFeed } from './topic-feed.ts';
import type { TopicReader } from './topic-reader.ts';
import { isTableTopic, TopicSet } from './topic-set.ts';
import { TransactionMerge } from './transaction-merge.ts';

export interface DebeziumSinkParts {
  readonly config: Config;
  readonly source: DebeziumSourceConfig;
  readonly target: TargetConfig;
  readonly pool: ConnectionPool;
  readonly connect: () => Promise<pg.Client>;
  readonly context: ServiceContext;
  readonly sendDeadLetters: SendDeadLetters;
}

/** In restage.checkpoint, where the sink of a pipeline of ours has the pipeline's UUID. */
export const DEBEZIUM_INCARNATION = 'debezium';
const REFRESH_MS = 5_000;
const REFRESH_WAIT_MS = 200;

/** One attempt of a sink that reads Debezium's topics, by the holder of the lease: until aborted or until something fails. */
export async function debeziumSink(parts: DebeziumSinkParts, signal: AbortSignal): Promise<void> {
  const client = await parts.connect();
  try {
    await goOn(parts, client, signal);
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function goOn(parts: DebeziumSinkParts, client: pg.Client, signal: AbortSignal): Promise<void> {
  const { config, context } = parts;
  const { logger } = context;
  await requireReplica(client);
  const stale = await endStaleSessions(client);
  if (stale > 0) logger.warn({ ended: stale }, 'ended sessions that an earlier sink left');
  const state = new TargetState(config.name, randomUUID());
  const topics = new DebeziumState(config.name);
  const known = await begin(parts, client, state, topics);
  const quarantine = openQuarantine(parts, client, topics);
  await quarantine.begin();
  for (let isOver = false; !isOver;)
    isOver = await attempt(parts, { client, state, topics, quarantine, ...known }, signal);
}

interface AttemptTools {
  readonly client: pg.Client;
  readonly state: TargetState;
  readonly topics: DebeziumState;
  readonly quarantine: BatchQuarantine;
  readonly through: Lsn;
  readonly isLoadDone: boolean;
}

/** From the stored positions on. False where they are to be read again, because something is to be left out that was taken after them. */
async function attempt(parts: DebeziumSinkParts, tools: AttemptTools, signal: AbortSignal): Promise<boolean> {
  const { client, quarantine } = tools;
  const loop = await openLoop(parts, tools, signal);
  try {
    await loop.run(REFRESH_MS, signal);
    return true;
  } catch (error) {
    if (!quarantine.takes(error)) throw error;
    await client.query('ROLLBACK');
    loop.forgetUncommitted();
    return false;
  }
}

async function openLoop(parts: DebeziumSinkParts, tools: AttemptTools, signal: AbortSignal): Promise<SinkLoop> {
  const { config, source, pool, context } = parts;
  const { client, state, topics, quarantine } = tools;
  const { status, logger, failpoints } = context;
  const { through, isLoadDone } = (await state.open(client)) ?? tools;
  const letters = new DeadLetterStore(client, config.name);
  const states = (await readTopicStates(client, config.name)) ?? new Map<string, TopicState>();
  const records = new RecordReader(source, config.kafka);
  const set = await openTopics(parts, records, states, await topics.readUnread(client));
  const rows = new RowWriter(client, topics, (await countMissing(client, config.name)) > 0);
  const book = new TableBook(client, source);
  const intake = new EventIntake({
    config: source,
    book,
    topics,
    rows,
    letters,
    mayLeaveOut: quarantine.mayLeaveOut,
    lastOrdinal: await letters.lastOrdinal(),
    status,
    logger,
  });
  intake.through = through;
  const writer = new TargetWriter({ client, state, topics, rows, quarantine, failpoints });
  const loop = new SinkLoop({
    set,
    intake,
    writer,
    quarantine,
    status,
    logger,
    gate: context.gate,
    isLoadDone,
    countMissing: () => countMissing(client, config.name),
    namesWithRows: (names) => namesWithRows(client, book, names),
  });
  const boundaries = await openBoundaries(parts, states, records);
  if (boundaries !== null) {
    const merge = new TransactionMerge({
      feed: boundaries.feed,
      read: records.open(),
      mark: boundaries.state.mark,
      intake,
      readerOf: (names) => readerOf(set, parts, names, signal),
      status,
      signal,
      onTaken: () => loop.spill(),
    });
    loop.follow({ merge, feed: boundaries.feed, topicId: () => topicIdOf(pool, boundaries.feed.topic) });
  }
  return loop;
}

async function openTopics(
  { source, target, pool, context }: DebeziumSinkParts,
  records: RecordReader,
  states: ReadonlyMap<string, TopicState>,
  unread: Awaited<ReturnType<DebeziumState['readUnread']>>,
): Promise<TopicSet> {
  const set = new TopicSet({
    pool,
    config: source,
    states,
    unread,
    reader: (topic) => eventReader(topic, records.open(), records.open()),
    // Whose transaction such a record is of nobody can tell: only `row` goes on.
    keyReader: target.quarantine === 'row' ? () => keyReader(records.open()) : null,
    learn: (read) => records.learn(read),
    logger: context.logger,
  });
  await set.refresh();
  return set;
}

/** Of these topics those whose tables have rows at the target, by their names there. */
export async function namesWithRows(
  client: pg.ClientBase,
  book: TableBook,
  topics: readonly string[],
): Promise<string[]> {
  const names: string[] = [];
  for (const topic of topics) {
    const table = await book.findByTopic(topic);
    if (table === null) continue;
    const found = await client.query(`SELECT FROM ${table.target.only} LIMIT 1`);
    if (found.rowCount === 1) names.push(formatTable(table.form.table));
  }
  return names;
}

function openQuarantine(
  { config, target, context, sendDeadLetters }: DebeziumSinkParts,
  client: pg.Client,
  topics: DebeziumState,
): BatchQuarantine {
  const { status, logger, failpoints } = context;
  const store = new DeadLetterStore(client, config.name);
  return new BatchQuarantine({
    policy: target.quarantine ?? 'stop',
    client,
    store,
    topics,
    incarnation: DEBEZIUM_INCARNATION,
    service: `sink ${target.name}`,
    tables: () => readTables(client, ''),
    relay: () => relayDeadLetters(store, sendDeadLetters, failpoints),
    status,
    logger,
  });
}

/** The position so far; a first start makes Restage's own tables. @throws RestageError state_foreign. */
async function begin(
  { context }: DebeziumSinkParts,
  client: pg.Client,
  state: TargetState,
  topics: DebeziumState,
): Promise<{ readonly through: Lsn; readonly isLoadDone: boolean }> {
  const { failpoints, status } = context;
  failpoints.hit('sink.takeover.before');
  const known = await state.open(client);
  failpoints.hit('sink.takeover.after');
  if (known !== null) {
    requireOwnState(known.incarnation);
    await topics.prepare(client);
    await prepareDeadLetters(client);
    status.through = formatLsn(known.through);
    return known;
  }
  failpoints.hit('sink.state.before');
  await state.prepare(client);
  await topics.prepare(client);
  await prepareDeadLetters(client);
  failpoints.hit('sink.state.after');
  failpoints.hit('sink.begin.before');
  await state.begin(client, DEBEZIUM_INCARNATION, 0n, LSN_ZERO);
  await state.startStream(client, 0n);
  failpoints.hit('sink.begin.after');
  return { through: LSN_ZERO, isLoadDone: false };
}

/** @throws RestageError state_foreign where the target's state is of a pipeline with a producer. */
export function requireOwnState(incarnation: string): void {
  if (incarnation === DEBEZIUM_INCARNATION) return;
  throw new RestageError('state_foreign', "the target's state belongs to a pipeline that has a producer of its own", {
    where: `restage.checkpoint has incarnation ${incarnation}`,
    fix: 'use an empty target, or another pipeline name',
  });
}

/** Events come table by table: only a session that is a replica's lets foreign keys and triggers rest meanwhile. */
export async function requireReplica(client: pg.ClientBase): Promise<void> {
  if (await actAsReplica(client)) return;
  const { rows } = await client.query<{ role: string }>('SELECT current_user::text AS role');
  throw new RestageError(
    'target_denied',
    "the role may not set session_replication_role, which a sink of Debezium's topics needs",
    {
      where: `role ${rows[0]?.role ?? ''}`,
      fix: `as a superuser: GRANT SET ON PARAMETER session_replication_role TO ${quoteIdentifier(rows[0]?.role ?? 'restage')}; (PostgreSQL 15 and newer)`,
    },
  );
}

interface Boundaries {
  readonly feed: TopicFeed;
  readonly state: TopicState;
}

async function openBoundaries(
  { pool, source }: DebeziumSinkParts,
  states: ReadonlyMap<string, TopicState>,
  records: RecordReader,
): Promise<Boundaries | null> {
  const topic = source.transactionTopic;
  if (topic === null) return null;
  const known = states.get(topic);
  const id = await topicIdOf(pool, topic);
  const state = known ?? newTopicState(id);
  const from = known?.nextOffset ?? (id === '' ? 0n : await startOffset(pool, topic));
  return { feed: new TopicFeed(pool, topic, from, (read) => records.learn(read)), state };
}

async function topicIdOf(pool: ConnectionPool, topic: string): Promise<string> {
  return (await listTopics(pool)).find(({ name }) => name === topic)?.id ?? '';
}

/** A table's first event may be told of before its topic is listed. */
async function readerOf(
  set: TopicSet,
  { source, context }: DebeziumSinkParts,
  topics: readonly string[],
  signal: AbortSignal,
): Promise<TopicReader | null> {
  const chosen = topics.filter((topic) => isTableTopic(source, topic));
  if (chosen.length === 0) return null;
  for (let isListed = false; ; isListed = true) {
    for (const topic of chosen) {
      const reader = set.readers.get(topic);
      if (reader !== undefined) return reader;
    }
    if (isListed) {
      context.status.detail = `waits for topic ${chosen.join(' or ')}, which a transaction names`;
      await pause(REFRESH_WAIT_MS, signal);
    }
    signal.throwIfAborted();
    await set.refresh();
  }
}
