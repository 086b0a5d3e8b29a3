import type pg from 'pg';
import type { Image } from '#core/change.ts';
import { NO_MARK, type MarkState } from '#core/debezium-source/stream-mark.ts';
import type { ShownState } from '#core/debezium-source/unshown.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { castText } from '../value-type.ts';
import { arrayLiteral } from './row-arrays.ts';
import type { TargetTable } from './target-table.ts';

/** How far one of Debezium's topics is applied to a target. */
export interface TopicState {
  /** Kafka's id of the topic: another one says that it was deleted and made again. */
  readonly topicId: string;
  readonly nextOffset: bigint;
  readonly mark: MarkState;
  /** Rows came from it: a later snapshot must take away those that it does not see. */
  readonly hasRows: boolean;
  /** A snapshot's first row was read and its last one not. */
  readonly isInSnapshot: boolean;
  /** The snapshot's keys are noted. */
  readonly isTracked: boolean;
  /** null before its first event. */
  readonly shown: ShownState | null;
}

/** What a transaction of the source may count of a topic that nobody could read. */
export interface UnreadState {
  /** Records since the topic's last event of a transaction. */
  readonly count: bigint;
  /** Events that were taken for such records, of the newest transaction where that was so: those after `after` in its count of the table. */
  readonly assumed: { readonly xid: string; readonly after: bigint } | null;
}

export const NOTHING_UNREAD: UnreadState = { count: 0n, assumed: null };

export function newTopicState(topicId: string): TopicState {
  return {
    topicId,
    nextOffset: 0n,
    mark: NO_MARK,
    hasRows: false,
    isInSnapshot: false,
    isTracked: false,
    shown: null,
  };
}

const STATEMENTS = [
  `CREATE TABLE IF NOT EXISTS restage.debezium_topic (
     pipeline text, topic text, topic_id text NOT NULL, next_offset bigint NOT NULL, last_commit numeric, lsn numeric, keys text[] NOT NULL,
     newest_us bigint NOT NULL, has_rows boolean NOT NULL, in_snapshot boolean NOT NULL, tracked boolean NOT NULL, PRIMARY KEY (pipeline, topic))`,
  'ALTER TABLE restage.debezium_topic ADD COLUMN IF NOT EXISTS server text, ADD COLUMN IF NOT EXISTS shown_lsn numeric',
  `CREATE TABLE IF NOT EXISTS restage.debezium_seen (pipeline text, topic text, key text[], PRIMARY KEY (pipeline, topic, key))`,
  `CREATE TABLE IF NOT EXISTS restage.debezium_missing (pipeline text, topic text, key text[], PRIMARY KEY (pipeline, topic, key))`,
  `CREATE TABLE IF NOT EXISTS restage.debezium_unread (
     pipeline text, topic text, count bigint NOT NULL, assumed_xid text, assumed_after bigint, PRIMARY KEY (pipeline, topic))`,
];

interface TopicRow {
  readonly topic: string;
  readonly topic_id: string;
  readonly next_offset: string;
  readonly last_commit: string | null;
  readonly lsn: string | null;
  readonly keys: string[];
  readonly newest_us: string;
  readonly has_rows: boolean;
  readonly in_snapshot: boolean;
  readonly tracked: boolean;
  readonly server: string | null;
  readonly shown_lsn: string | null;
}

/** Positions on Debezium's topics, only read; null before the sink's first start. */
export async function readTopicStates(
  client: pg.ClientBase,
  pipeline: string,
): Promise<ReadonlyMap<string, TopicState> | null> {
  const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.debezium_topic')`);
  if (known.rowCount === 0) return null;
  const { rows } = await client.query<TopicRow>(
    `SELECT topic, topic_id, next_offset::text, last_commit::text, lsn::text, keys, newest_us::text, has_rows, in_snapshot, tracked,
            to_jsonb(t)->>'server' AS server, to_jsonb(t)->>'shown_lsn' AS shown_lsn
       FROM restage.debezium_topic t WHERE pipeline = $1`,
    [pipeline],
  );
  return new Map(rows.map((row) => [row.topic, toState(row)]));
}

function toState(row: TopicRow): TopicState {
  const lastCommit = row.last_commit === null ? null : BigInt(row.last_commit);
  return {
    topicId: row.topic_id,
    nextOffset: BigInt(row.next_offset),
    mark: {
      place: row.lsn === null ? null : { lastCommit, lsn: BigInt(row.lsn) },
      keys: row.keys,
      micros: BigInt(row.newest_us),
    },
    hasRows: row.has_rows,
    isInSnapshot: row.in_snapshot,
    isTracked: row.tracked,
    shown: row.server === null ? null : { server: row.server, lsn: BigInt(row.shown_lsn ?? 0) },
  };
}

/** How many rows wait for values that no event has brought. */
export async function countMissing(client: pg.ClientBase, pipeline: string): Promise<number> {
  const { rows } = await client.query<{ count: string }>(
    'SELECT count(*)::text AS count FROM restage.debezium_missing WHERE pipeline = $1',
    [pipeline],
  );
  return Number(rows[0]?.count ?? 0);
}

/** What a sink keeps in its target of topics that Debezium writes; every write is made with the rows it covers (invariant 2). */
export class DebeziumState {
  readonly #pipeline: string;

  constructor(pipeline: string) {
    this.#pipeline = pipeline;
  }

  /** Makes the tables where they are missing; the schema is there. */
  async prepare(client: pg.ClientBase): Promise<void> {
    const known = await client.query(
      `SELECT FROM pg_attribute WHERE attrelid = to_regclass('restage.debezium_topic') AND attname = 'shown_lsn'`,
    );
    if (known.rowCount === 1) return;
    for (const statement of STATEMENTS) await client.query(statement);
  }

  async store(client: pg.ClientBase, topic: string, state: TopicState): Promise<void> {
    const { topicId, nextOffset, mark, hasRows, isInSnapshot, isTracked, shown } = state;
    await client.query(
      `INSERT INTO restage.debezium_topic VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
       ON CONFLICT (pipeline, topic) DO UPDATE SET topic_id = excluded.topic_id, next_offset = excluded.next_offset,
         last_commit = excluded.last_commit, lsn = excluded.lsn, keys = excluded.keys, newest_us = excluded.newest_us,
         has_rows = excluded.has_rows, in_snapshot = excluded.in_snapshot, tracked = excluded.tracked,
         server = excluded.server, shown_lsn = excluded.shown_lsn`,
      [
        this.#pipeline,
        topic,
        topicId,
        String(nextOffset),
        numberText(mark.place?.lastCommit),
        numberText(mark.place?.lsn),
        mark.keys,
        String(mark.micros),
        hasRows,
        isInSnapshot,
        isTracked,
        shown?.server ?? null,
        numberText(shown?.lsn),
      ],
    );
  }

  async readUnread(client: pg.ClientBase): Promise<ReadonlyMap<string, UnreadState>> {
    const { rows } = await client.query<{ topic: string; count: string; xid: string | null; after: string | null }>(
      `SELECT topic, count::text, assumed_xid AS xid, assumed_after::text AS after FROM restage.debezium_unread WHERE pipeline = $1`,
      [this.#pipeline],
    );
    return new Map(
      rows.map(({ topic, count, xid, after }) => [
        topic,
        { count: BigInt(count), assumed: xid === null ? null : { xid, after: BigInt(after ?? 0) } },
      ]),
    );
  }

  async storeUnread(client: pg.ClientBase, topic: string, { count, assumed }: UnreadState): Promise<void> {
    await client.query(
      `INSERT INTO restage.debezium_unread VALUES ($1, $2, $3, $4, $5) ON CONFLICT (pipeline, topic) DO UPDATE SET
         count = excluded.count, assumed_xid = excluded.assumed_xid, assumed_after = excluded.assumed_after`,
      [this.#pipeline, topic, String(count), assumed?.xid ?? null, assumed === null ? null : String(assumed.after)],
    );
  }

  /** False again while a later snapshot runs. */
  async setLoadDone(client: pg.ClientBase, isDone: boolean): Promise<void> {
    await client.query('UPDATE restage.checkpoint SET load_done = $2 WHERE pipeline = $1', [this.#pipeline, isDone]);
  }

  /** A snapshot begins: what an unfinished one before it saw is forgotten. */
  async forgetSeen(client: pg.ClientBase, topic: string): Promise<void> {
    await client.query('DELETE FROM restage.debezium_seen WHERE pipeline = $1 AND topic = $2', [this.#pipeline, topic]);
  }

  async noteSeen(client: pg.ClientBase, topic: string, table: TargetTable, keys: readonly Image[]): Promise<void> {
    await this.#note(client, 'debezium_seen', topic, table, keys);
  }

  /** Takes away the rows whose keys the snapshot did not see. Returns how many. */
  async removeUnseen(client: pg.ClientBase, topic: string, table: TargetTable): Promise<number> {
    const same = table.identity.map((name, index) => {
      const column = table.columns.get(name);
      const key = `s.key[${index + 1}]`;
      return `t.${quoteIdentifier(name)} ${column?.equals ?? '='} ${column === undefined ? key : castText(column, key)}`;
    });
    const done = await client.query(
      `DELETE FROM ${table.only} AS t WHERE NOT EXISTS (
         SELECT FROM restage.debezium_seen AS s WHERE s.pipeline = $1 AND s.topic = $2 AND ${same.join(' AND ')})`,
      [this.#pipeline, topic],
    );
    await this.forgetSeen(client, topic);
    return done.rowCount ?? 0;
  }

  /** An event left out values of rows that the target does not hold. */
  async noteMissing(client: pg.ClientBase, topic: string, table: TargetTable, keys: readonly Image[]): Promise<void> {
    await this.#note(client, 'debezium_missing', topic, table, keys);
  }

  async clearMissing(client: pg.ClientBase, topic: string, table: TargetTable, keys: readonly Image[]): Promise<void> {
    if (keys.length === 0) return;
    await client.query(
      `DELETE FROM restage.debezium_missing WHERE pipeline = $1 AND topic = $2 AND key IN (SELECT k::text[] FROM unnest($3::text[]) AS u(k))`,
      [this.#pipeline, topic, keyLiterals(table, keys)],
    );
  }

  /** TRUNCATE, and the end of a snapshot: no row of the table waits any more. */
  async clearAllMissing(client: pg.ClientBase, topic: string): Promise<void> {
    await client.query('DELETE FROM restage.debezium_missing WHERE pipeline = $1 AND topic = $2', [
      this.#pipeline,
      topic,
    ]);
  }

  async #note(
    client: pg.ClientBase,
    into: 'debezium_seen' | 'debezium_missing',
    topic: string,
    table: TargetTable,
    keys: readonly Image[],
  ): Promise<void> {
    if (keys.length === 0) return;
    await client.query(
      `INSERT INTO restage.${into} SELECT $1, $2, k::text[] FROM unnest($3::text[]) AS u(k) ON CONFLICT DO NOTHING`,
      [this.#pipeline, topic, keyLiterals(table, keys)],
    );
  }
}

/** Array constants, one a key: the driver would make a list of lists a two-dimensional array. */
function keyLiterals(table: TargetTable, keys: readonly Image[]): string[] {
  return keys.map((key) => String(arrayLiteral(table.identity.map((name) => key.get(name) ?? null))));
}

function numberText(value: bigint | null | undefined): string | null {
  return value === null || value === undefined ? null : String(value);
}
