import type pg from 'pg';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { listTopics } from '#adapters/kafka/topic-list.ts';
import { startOffset } from '#adapters/kafka/offsets.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { readTables } from '#adapters/postgres/catalog.ts';
import { readTopicStates, type TopicState } from '#adapters/postgres/target/debezium-state.ts';
import type { Config } from '#core/config.ts';
import { formOf } from '#core/debezium-source/column-text.ts';
import { eventReader } from '#core/debezium-source/event.ts';
import type { ModeLosses } from '#core/debezium-source/mode-losses.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { findUnshown } from '#core/debezium-source/unshown.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { formatTable } from '#core/table-name.ts';
import { namesWithRows } from '../../sink/debezium/debezium-sink.ts';
import { requireReadyDebezium } from '../../sink/debezium/preflight.ts';
import { RecordReader } from '../../sink/debezium/record-reader.ts';
import { TableBook } from '../../sink/debezium/table-book.ts';
import { TopicFeed } from '../../sink/debezium/topic-feed.ts';
import { isTableTopic } from '../../sink/debezium/topic-set.ts';
import type { CheckedFinding } from './check-printer.ts';
import { listSome } from './finding.ts';

/** How many things are asked. */
export const DEBEZIUM_CHECK_COUNT = 6;
/** Debezium writes NULL for an unchanged TOASTed value of these: nothing tells it from a NULL of the source. */
const NO_PLACEHOLDER: ReadonlySet<string> = new Set(['numeric']);
const ARRAYS_WITH_PLACEHOLDER: ReadonlySet<string> = new Set([
  'text',
  'varchar',
  'bpchar',
  'json',
  'jsonb',
  'bytea',
  'int4',
  'int8',
  'date',
  'uuid',
]);

/** `restage check` where Debezium reads the source: targets, topics, and what values of theirs cannot tell. Changes nothing. */
export async function collectDebeziumFindings(
  config: Config,
  source: DebeziumSourceConfig,
  logger: Logger,
): Promise<CheckedFinding[]> {
  const findings: CheckedFinding[] = [];
  for (const target of config.targets) {
    try {
      await requireReadyDebezium(config, source, target, logger);
    } catch (error) {
      findings.push(refusal(target.name, error));
      continue;
    }
    const client = await connectPg({ url: target.url, purpose: 'target', application: `restage ${config.name} check` });
    try {
      findings.push(...(await losses(client)), ...(await modeLosses(config, source, client, logger)));
      findings.push(...(await shortened(config, source, client, logger)), ...(await unshown(config, source, client)));
    } finally {
      await client.end();
    }
  }
  if (source.transactionTopic === null) findings.push(WITHOUT_TRANSACTIONS);
  return findings;
}

const WITHOUT_TRANSACTIONS: CheckedFinding = {
  id: 'debezium.transactions',
  severity: 'warn',
  what: 'targets get each table by itself: no transaction is whole, and tables without a key are refused',
  evidence: 'source.debezium.transaction.topic is not given',
  fix: 'set provide.transaction.metadata=true at the connector, before its first event, and name the topic',
};

function refusal(target: string, error: unknown): CheckedFinding {
  const isOurs = error instanceof RestageError;
  return {
    id: 'debezium.ready',
    severity: 'block',
    what: `target ${target}: ${error instanceof Error ? error.message : String(error)}`,
    evidence: (isOurs ? error.where : undefined) ?? 'see the message',
    fix: (isOurs ? error.fix : undefined) ?? 'see the message, and run the check again',
  };
}

async function losses(client: pg.ClientBase): Promise<CheckedFinding[]> {
  const columns = (await readTables(client, '')).flatMap((table) =>
    table.columns
      .filter((column) => {
        const { type, isArray } = formOf(column);
        return isArray ? !ARRAYS_WITH_PLACEHOLDER.has(type) : NO_PLACEHOLDER.has(type) && column.modifiers === '';
      })
      .map(({ name }) => `${formatTable(table)}.${name}`),
  );
  if (columns.length === 0) return [];
  return [
    {
      id: 'debezium.unchanged',
      severity: 'warn',
      what: 'large values of these columns become NULL when an update leaves them alone: Debezium has no placeholder for them',
      evidence: listSome(columns),
      fix: 'at the source: ALTER TABLE … REPLICA IDENTITY FULL; for tables whose values there are longer than 2 kB',
    },
  ];
}

/** The first event of every topic tells the connector's modes. What cannot be read is the sink's to say, when its turn comes. */
async function modeLosses(
  config: Config,
  source: DebeziumSourceConfig,
  client: pg.ClientBase,
  logger: Logger,
): Promise<CheckedFinding[]> {
  const found = new Map<string, string[]>();
  const pool = createConnectionPool(config.kafka, { clientId: `restage ${config.name} check`, logger });
  const book = new TableBook(client, source);
  const records = new RecordReader(source, config.kafka);
  try {
    for (const { name, partitions } of await listTopics(pool)) {
      if (!isTableTopic(source, name) || partitions > 1) continue;
      const feed = new TopicFeed(pool, name, await startOffset(pool, name), (read) => records.learn(read));
      await feed.fill();
      for (const [loss, columns] of await lossesOfFirst(feed, book, records))
        found.set(loss, [...(found.get(loss) ?? []), ...columns.map((column) => `${name}: ${column}`)]);
    }
  } finally {
    await pool.close();
  }
  return [...found].map(([loss, columns]) => ({
    id: 'debezium.modes',
    severity: 'warn',
    what: `values of these columns do not come whole: ${loss}`,
    evidence: listSome(columns),
    fix: 'at the connector, and with a new snapshot: decimal.handling.mode=string, time.precision.mode=adaptive, interval.handling.mode=string',
  }));
}

async function lossesOfFirst(feed: TopicFeed, book: TableBook, records: RecordReader): Promise<ModeLosses> {
  const read = eventReader(feed.topic, records.open(), records.open());
  for (const record of feed.records) {
    try {
      const event = read(record);
      if (event !== null && event.op !== 't' && event.op !== 'd') return (await book.open(event, false)).losses;
    } catch (error) {
      if (!(error instanceof RestageError)) throw error;
      return new Map();
    }
  }
  return new Map();
}

/** Whether the source's tables are empty is not in the topics. */
async function unshown(config: Config, source: DebeziumSourceConfig, client: pg.ClientBase): Promise<CheckedFinding[]> {
  const states = (await readTopicStates(client, config.name)) ?? new Map<string, TopicState>();
  const topics = [...findUnshown([...states].map(([topic, { shown }]) => [topic, shown])).keys()];
  const names = await namesWithRows(client, new TableBook(client, source), topics);
  if (names.length === 0) return [];
  return [
    {
      id: 'debezium.unshown',
      severity: 'warn',
      what: 'the newest snapshot showed no row of these tables, and the target has rows of them',
      evidence: listSome(names),
      fix: 'where the table is empty at the source, DELETE its rows at the target; where the snapshot left it out, nothing is to be done',
    },
  ];
}

async function shortened(
  config: Config,
  source: DebeziumSourceConfig,
  client: pg.ClientBase,
  logger: Logger,
): Promise<CheckedFinding[]> {
  const states = (await readTopicStates(client, config.name)) ?? new Map<string, never>();
  const pool = createConnectionPool(config.kafka, { clientId: `restage ${config.name} check`, logger });
  try {
    const cut: string[] = [];
    for (const { name } of await listTopics(pool))
      if (isTableTopic(source, name) && !states.has(name) && (await startOffset(pool, name)) > 0n) cut.push(name);
    if (cut.length === 0) return [];
    return [
      {
        id: 'debezium.history',
        severity: 'warn',
        what: 'the beginning of these topics is gone: rows that only it had will be missing',
        evidence: listSome(cut),
        fix: 'have a snapshot taken again (a signal execute-snapshot, or snapshot.mode=always), and give the topics more retention',
      },
    ];
  } finally {
    await pool.close();
  }
}
