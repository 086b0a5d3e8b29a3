import type pg from 'pg';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import type { TableLoad } from './target-state.ts';

/** A late load in a target: from its announcement until the position has passed its newest snapshot. */
export interface LateProgress {
  /** Offset on `.epochs` of the announcement from which the stream goes on. */
  readonly begun: bigint;
  /** Offset of the newest announcement that was met. */
  readonly loading: bigint;
  /** Offset of the newest announcement whose rows are all in shadow tables; null before the first. */
  readonly loaded: bigint | null;
  /** By topic. */
  readonly tables: ReadonlyMap<string, LateTable>;
}

export interface LateTable extends TableLoad {
  /** Of the structure that its rows have. */
  readonly version: number;
}

const STATEMENTS = [
  `CREATE TABLE IF NOT EXISTS restage.late_load (pipeline text PRIMARY KEY, begun bigint NOT NULL, loading bigint NOT NULL, loaded bigint)`,
  `CREATE TABLE IF NOT EXISTS restage.late_table (
     pipeline text, topic text, load int NOT NULL, version bigint NOT NULL, snapshot pg_lsn, PRIMARY KEY (pipeline, topic))`,
];

/** Tables of their own beside restage.checkpoint, so that an older state is read as it is. Written in the transaction of what they say (invariant 2). */
export class LateState {
  readonly #pipeline: string;

  constructor(pipeline: string) {
    this.#pipeline = pipeline;
  }

  /** null where none is open. */
  async read(client: pg.ClientBase): Promise<LateProgress | null> {
    if (!(await isThere(client))) return null;
    const [row] = (
      await client.query<{ begun: string; loading: string; loaded: string | null }>(
        'SELECT begun::text, loading::text, loaded::text FROM restage.late_load WHERE pipeline = $1',
        [this.#pipeline],
      )
    ).rows;
    if (row === undefined) return null;
    return {
      begun: BigInt(row.begun),
      loading: BigInt(row.loading),
      loaded: row.loaded === null ? null : BigInt(row.loaded),
      tables: await this.tables(client),
    };
  }

  async tables(client: pg.ClientBase): Promise<Map<string, LateTable>> {
    const { rows } = await client.query<{ topic: string; load: number; version: string; snapshot: string | null }>(
      'SELECT topic, load, version::text AS version, snapshot::text AS snapshot FROM restage.late_table WHERE pipeline = $1',
      [this.#pipeline],
    );
    return new Map(
      rows.map((row) => [
        row.topic,
        {
          load: row.load,
          version: Number(row.version),
          snapshot: row.snapshot === null ? null : parseLsn(row.snapshot),
        },
      ]),
    );
  }

  /** An announcement's rows are taken from now on. Also says in the checkpoint that a load is not done. */
  async begin(client: pg.ClientBase, offset: bigint): Promise<void> {
    if (!(await isThere(client))) for (const statement of STATEMENTS) await client.query(statement);
    await client.query(
      `INSERT INTO restage.late_load (pipeline, begun, loading) VALUES ($1, $2, $2)
       ON CONFLICT (pipeline) DO UPDATE SET loading = excluded.loading`,
      [this.#pipeline, String(offset)],
    );
    await client.query('UPDATE restage.checkpoint SET load_done = false WHERE pipeline = $1', [this.#pipeline]);
  }

  /** A table is to be loaded by this load; what an earlier one noted of it is forgotten. */
  async planTable(client: pg.ClientBase, topic: string, load: number, version: number): Promise<void> {
    await client.query('DELETE FROM restage.chunk_ledger WHERE pipeline = $1 AND topic = $2', [this.#pipeline, topic]);
    await client.query(
      `INSERT INTO restage.late_table (pipeline, topic, load, version) VALUES ($1, $2, $3, $4)
       ON CONFLICT (pipeline, topic) DO UPDATE SET load = excluded.load, version = excluded.version, snapshot = NULL`,
      [this.#pipeline, topic, load, version],
    );
  }

  async endTable(client: pg.ClientBase, topic: string, snapshot: Lsn): Promise<void> {
    await client.query('UPDATE restage.late_table SET snapshot = $3 WHERE pipeline = $1 AND topic = $2', [
      this.#pipeline,
      topic,
      formatLsn(snapshot),
    ]);
  }

  async noteLoaded(client: pg.ClientBase, offset: bigint): Promise<void> {
    await client.query('UPDATE restage.late_load SET loaded = $2 WHERE pipeline = $1', [
      this.#pipeline,
      String(offset),
    ]);
  }

  /** Its tables are as any other from here on. */
  async finish(client: pg.ClientBase): Promise<void> {
    await client.query(
      `INSERT INTO restage.table_load (pipeline, topic, load, snapshot)
       SELECT pipeline, topic, load, snapshot FROM restage.late_table WHERE pipeline = $1 AND snapshot IS NOT NULL
       ON CONFLICT (pipeline, topic) DO UPDATE SET load = excluded.load, snapshot = excluded.snapshot`,
      [this.#pipeline],
    );
    await client.query('DELETE FROM restage.late_table WHERE pipeline = $1', [this.#pipeline]);
    await client.query('DELETE FROM restage.late_load WHERE pipeline = $1', [this.#pipeline]);
  }
}

async function isThere(client: pg.ClientBase): Promise<boolean> {
  const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.late_table')`);
  return known.rowCount === 1;
}
