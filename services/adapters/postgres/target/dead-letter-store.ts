import type pg from 'pg';
import type { DeadLetter, DeadLetterKind, DeadLetterStage, DeadLetterState } from '#core/dead-letter.ts';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import type { TableName } from '#core/table-name.ts';

const STATEMENTS = [
  `CREATE TABLE IF NOT EXISTS restage.dead_letter (
     pipeline text, id text, service text NOT NULL, topic text NOT NULL, partition int NOT NULL, "offset" bigint NOT NULL,
     commit_lsn pg_lsn, ordinal bigint, xid text, schema_name text NOT NULL, table_name text NOT NULL, kind text NOT NULL, row_key jsonb,
     record_key bytea, record_value bytea, record_headers jsonb NOT NULL, stage text NOT NULL, code text NOT NULL, error text NOT NULL,
     behind text, state text NOT NULL, made_at timestamptz NOT NULL DEFAULT clock_timestamp(), relayed_at timestamptz, settled_at timestamptz,
     PRIMARY KEY (pipeline, id))`,
  `CREATE INDEX IF NOT EXISTS dead_letter_waiting ON restage.dead_letter (pipeline, commit_lsn, ordinal, "offset") WHERE state = 'waiting'`,
  `CREATE INDEX IF NOT EXISTS dead_letter_unrelayed ON restage.dead_letter (pipeline) WHERE relayed_at IS NULL`,
  `CREATE TABLE IF NOT EXISTS restage.held_key (
     pipeline text, slot bytea, id text, PRIMARY KEY (pipeline, slot, id))`,
  `CREATE INDEX IF NOT EXISTS held_key_letter ON restage.held_key (pipeline, id)`,
];

/** A dead letter as it stands in the target. */
export interface StoredDeadLetter extends DeadLetter {
  readonly state: DeadLetterState;
  readonly madeAt: Date;
}

/** Where one stands among the others: the source's order; what has no position comes first. */
export interface DeadLetterPlace {
  readonly id: string;
  /** '' for none. */
  readonly commit: string;
  readonly behind: string | null;
  /** Of its value. */
  readonly bytes: number;
}

export interface DeadLetterCounts {
  readonly waiting: number;
  /** Rows of the target that later changes wait at. */
  readonly heldKeys: number;
}

interface LetterRow {
  readonly id: string;
  readonly service: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly commit_lsn: string | null;
  readonly ordinal: string | null;
  readonly xid: string | null;
  readonly schema_name: string;
  readonly table_name: string;
  readonly kind: string;
  readonly row_key: Record<string, string | null> | null;
  readonly record_key: Buffer | null;
  readonly record_value: Buffer | null;
  readonly record_headers: [string, string][];
  readonly stage: string;
  readonly code: string;
  readonly error: string;
  readonly behind: string | null;
  readonly state: string;
  readonly made_at: Date;
}

const ORDER = `ORDER BY commit_lsn NULLS FIRST, ordinal NULLS FIRST, "offset"`;
const COLUMNS = `id, service, topic, partition, "offset"::text AS offset, commit_lsn::text AS commit_lsn, ordinal::text AS ordinal, xid,
  schema_name, table_name, kind, row_key, record_headers, stage, code, error, behind, state, made_at`;

/** Makes the tables where they are missing; in a transaction of its own. */
export async function prepareDeadLetters(client: pg.ClientBase): Promise<void> {
  if (await hasDeadLetters(client)) return;
  for (const statement of STATEMENTS) await client.query(statement);
}

/** False in a target whose sink never came by. */
export async function hasDeadLetters(client: pg.ClientBase): Promise<boolean> {
  const known = await client.query(
    `SELECT FROM pg_catalog.pg_class WHERE oid = to_regclass('restage.held_key_letter')`,
  );
  return known.rowCount === 1;
}

/** Dead letters of one pipeline in a target, and the keys that wait behind them. Who writes does so in the transaction of the position. */
export class DeadLetterStore {
  readonly #client: pg.ClientBase;
  readonly #pipeline: string;
  /** Nothing was held when that was last asked, and `add` was not called since. */
  #isNothingHeld = false;

  constructor(client: pg.ClientBase, pipeline: string) {
    this.#client = client;
    this.#pipeline = pipeline;
  }

  /** `slots`: heldSlots. One that is there already stays as it is. */
  async add(letter: DeadLetter, slots: readonly string[]): Promise<void> {
    this.#isNothingHeld = false;
    const { position, table } = letter;
    const headers = [...letter.headers].map(([name, value]) => [name, value.toString('base64')]);
    await this.#client.query(
      `INSERT INTO restage.dead_letter (pipeline, id, service, topic, partition, "offset", commit_lsn, ordinal, xid, schema_name, table_name,
         kind, row_key, record_key, record_value, record_headers, stage, code, error, behind, state)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, 'waiting') ON CONFLICT DO NOTHING`,
      [
        this.#pipeline,
        letter.id,
        letter.service,
        letter.topic,
        letter.partition,
        String(letter.offset),
        position === null ? null : formatLsn(position.commit),
        position === null ? null : String(position.ordinal),
        letter.xid === null ? null : String(letter.xid),
        table.schema,
        table.table,
        letter.kind,
        letter.rowKey === null ? null : JSON.stringify(letter.rowKey),
        letter.key,
        letter.value,
        JSON.stringify(headers),
        letter.stage,
        letter.code,
        letter.error,
        letter.behind,
      ],
    );
    await this.#client.query(
      `INSERT INTO restage.held_key (pipeline, slot, id) SELECT $1, decode(s, 'hex'), $2 FROM unnest($3::text[]) AS s ON CONFLICT DO NOTHING`,
      [this.#pipeline, letter.id, [...slots]],
    );
  }

  /** Asked of the target until nothing is: only the sink that applies adds what is held, so none is from then on until it calls `add`. */
  async isAnyHeld(): Promise<boolean> {
    if (this.#isNothingHeld) return false;
    const { rows } = await this.#client.query<{ held: boolean }>(
      'SELECT EXISTS (SELECT FROM restage.held_key WHERE pipeline = $1) AS held',
      [this.#pipeline],
    );
    this.#isNothingHeld = rows[0]?.held === false;
    return !this.#isNothingHeld;
  }

  /** Of these slots those that are held, with the newest dead letter that each waits behind. */
  async findHeld(slots: readonly string[]): Promise<Map<string, string>> {
    const { rows } = await this.#client.query<{ slot: string; id: string }>(
      `SELECT s AS slot, last.id FROM (SELECT DISTINCT unnest($2::text[])) AS wanted(s)
         CROSS JOIN LATERAL (SELECT l.id FROM restage.held_key k JOIN restage.dead_letter l ON l.pipeline = k.pipeline AND l.id = k.id
                              WHERE k.pipeline = $1 AND k.slot = decode(s, 'hex')
                              ORDER BY l.commit_lsn DESC NULLS LAST, l.ordinal DESC NULLS LAST, l."offset" DESC LIMIT 1) AS last`,
      [this.#pipeline, [...slots]],
    );
    return new Map(rows.map((row) => [row.slot, row.id]));
  }

  /** Waiting dead letters that come before a position and hold one of these slots. */
  async holders(slots: readonly string[], before: Position): Promise<Set<string>> {
    const { rows } = await this.#client.query<{ id: string }>(
      `SELECT DISTINCT l.id FROM unnest($2::text[]) AS wanted(slot)
         JOIN restage.held_key k ON k.pipeline = $1 AND k.slot = decode(wanted.slot, 'hex')
         JOIN restage.dead_letter l ON l.pipeline = $1 AND l.id = k.id
        WHERE (coalesce(l.commit_lsn, '0/0'), coalesce(l.ordinal, 0)) < ($3::pg_lsn, $4::bigint)`,
      [this.#pipeline, [...slots], formatLsn(before.commit), String(before.ordinal)],
    );
    return new Set(rows.map(({ id }) => id));
  }

  async counts(): Promise<DeadLetterCounts> {
    const { rows } = await this.#client.query<{ waiting: number; held: number }>(
      `SELECT count(*)::int AS waiting, count(DISTINCT (schema_name, table_name, coalesce(row_key::text, id)))::int AS held
         FROM restage.dead_letter WHERE pipeline = $1 AND state = 'waiting'`,
      [this.#pipeline],
    );
    return { waiting: rows[0]?.waiting ?? 0, heldKeys: rows[0]?.held ?? 0 };
  }

  /** In the source's order. */
  async waiting(): Promise<DeadLetterPlace[]> {
    return this.#places(`state = 'waiting'`);
  }

  /** Those that the topic has not got yet, in the source's order. */
  async unrelayed(): Promise<DeadLetterPlace[]> {
    return this.#places('relayed_at IS NULL');
  }

  /** In the source's order; what is not there is left out. `withBytes`: else key and value are null, for lists. */
  async read(ids: readonly string[], withBytes = true): Promise<StoredDeadLetter[]> {
    const bytes = withBytes ? 'record_key, record_value' : 'NULL::bytea AS record_key, NULL::bytea AS record_value';
    const sql = `SELECT ${COLUMNS}, ${bytes} FROM restage.dead_letter WHERE pipeline = $1 AND id = ANY ($2) ${ORDER}`;
    return (await this.#client.query<LetterRow>(sql, [this.#pipeline, [...ids]])).rows.map(toLetter);
  }

  /** What waits behind these, however far. */
  async behind(ids: readonly string[]): Promise<string[]> {
    const { rows } = await this.#client.query<{ id: string }>(
      `WITH RECURSIVE after AS (
         SELECT id FROM restage.dead_letter WHERE pipeline = $1 AND behind = ANY ($2) AND state = 'waiting'
         UNION SELECT l.id FROM restage.dead_letter l JOIN after ON l.behind = after.id WHERE l.pipeline = $1 AND l.state = 'waiting')
       SELECT id FROM after WHERE id <> ALL ($2)`,
      [this.#pipeline, [...ids]],
    );
    return rows.map(({ id }) => id);
  }

  /** What waits directly behind these waits for itself from now on. */
  async free(ids: readonly string[]): Promise<void> {
    await this.#client.query(
      `UPDATE restage.dead_letter SET behind = NULL, code = 'freed', error = 'what it waited behind was dropped: retry it, or drop it too'
        WHERE pipeline = $1 AND behind = ANY ($2) AND state = 'waiting' AND id <> ALL ($2)`,
      [this.#pipeline, [...ids]],
    );
  }

  /** Of all states, newest last; `waiting` alone unless asked for. */
  async ids(isAll: boolean): Promise<string[]> {
    return (await this.#places(isAll ? 'true' : `state = 'waiting'`)).map(({ id }) => id);
  }

  async markRelayed(ids: readonly string[]): Promise<void> {
    await this.#client.query(
      'UPDATE restage.dead_letter SET relayed_at = clock_timestamp() WHERE pipeline = $1 AND id = ANY ($2)',
      [this.#pipeline, [...ids]],
    );
  }

  /** Its end: nothing waits behind it any more. False when it was not waiting. */
  async settle(id: string, state: Exclude<DeadLetterState, 'waiting'>): Promise<boolean> {
    const done = await this.#client.query(
      `UPDATE restage.dead_letter SET state = $3, settled_at = clock_timestamp() WHERE pipeline = $1 AND id = $2 AND state = 'waiting'`,
      [this.#pipeline, id, state],
    );
    await this.#client.query('DELETE FROM restage.held_key WHERE pipeline = $1 AND id = $2', [this.#pipeline, id]);
    return done.rowCount === 1;
  }

  /** The table was loaded again under a snapshot that has what committed before (null: all of it): nothing waits for those any more. */
  async supersede(topic: string, snapshot: Lsn | null): Promise<void> {
    await this.#client.query(
      `WITH done AS (UPDATE restage.dead_letter SET state = 'dropped', code = 'superseded', settled_at = clock_timestamp()
                      WHERE pipeline = $1 AND topic = $2 AND coalesce(commit_lsn < $3, $3 IS NULL) AND state = 'waiting' RETURNING id)
       DELETE FROM restage.held_key USING done WHERE held_key.pipeline = $1 AND held_key.id = done.id`,
      [this.#pipeline, topic, snapshot === null ? null : formatLsn(snapshot)],
    );
  }

  /** The highest ordinal of any; 0 for none. */
  async lastOrdinal(): Promise<number> {
    const { rows } = await this.#client.query<{ last: string }>(
      'SELECT coalesce(max(ordinal), 0)::text AS last FROM restage.dead_letter WHERE pipeline = $1',
      [this.#pipeline],
    );
    return Number(rows[0]?.last ?? 0);
  }

  /** What the target says to it now. */
  async noteError(id: string, code: string, error: string): Promise<void> {
    await this.#client.query(
      'UPDATE restage.dead_letter SET code = $3, error = $4, behind = NULL WHERE pipeline = $1 AND id = $2',
      [this.#pipeline, id, code, error],
    );
  }

  /** Of rows of a table, by their keys, those that wait: the oldest dead letter of each. */
  async ofRows(
    table: TableName,
    keys: readonly Readonly<Record<string, string | null>>[],
  ): Promise<Map<number, string>> {
    const { rows } = await this.#client.query<{ at: number; id: string }>(
      `SELECT DISTINCT ON (wanted.at) wanted.at::int AS at, l.id
         FROM unnest($4::text[]) WITH ORDINALITY AS wanted(key, at)
         JOIN restage.dead_letter l ON l.pipeline = $1 AND l.schema_name = $2 AND l.table_name = $3 AND l.state = 'waiting'
                                   AND l.row_key = wanted.key::jsonb
        ORDER BY wanted.at, l.commit_lsn NULLS FIRST, l.ordinal`,
      [this.#pipeline, table.schema, table.table, keys.map((key) => JSON.stringify(key))],
    );
    return new Map(rows.map((row) => [row.at - 1, row.id]));
  }

  async #places(condition: string): Promise<DeadLetterPlace[]> {
    const { rows } = await this.#client.query<{ id: string; commit: string; behind: string | null; bytes: number }>(
      `SELECT id, coalesce(commit_lsn::text, '') AS commit, behind, coalesce(octet_length(record_value), 0) AS bytes
         FROM restage.dead_letter WHERE pipeline = $1 AND ${condition} ${ORDER}`,
      [this.#pipeline],
    );
    return rows;
  }
}

function toLetter(row: LetterRow): StoredDeadLetter {
  return {
    id: row.id,
    service: row.service,
    topic: row.topic,
    partition: row.partition,
    offset: BigInt(row.offset),
    position: row.commit_lsn === null ? null : { commit: parseLsn(row.commit_lsn), ordinal: Number(row.ordinal ?? 0) },
    xid: row.xid === null ? null : BigInt(row.xid),
    table: { schema: row.schema_name, table: row.table_name },
    kind: row.kind as DeadLetterKind,
    rowKey: row.row_key,
    key: row.record_key,
    value: row.record_value,
    headers: new Map(row.record_headers.map(([name, value]) => [name, Buffer.from(value, 'base64')])),
    stage: row.stage as DeadLetterStage,
    code: row.code,
    error: row.error,
    behind: row.behind,
    state: row.state as DeadLetterState,
    madeAt: row.made_at,
  };
}
