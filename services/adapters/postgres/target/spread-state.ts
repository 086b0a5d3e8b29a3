import type pg from 'pg';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import { damaged, SPREAD_FORMAT, STATE_FORMAT } from './target-state.ts';

/** A stretch of the stream that lanes apply side by side, each its own ranges in order: order per key, no whole transactions. */
export interface Spread {
  readonly id: string;
  readonly lanes: number;
  /** Topics whose partitions different lanes may take. */
  readonly split: readonly string[];
  /** Where every lane stops, as an offset on `.epochs`; null: before the next manifest that is joint. */
  readonly until: bigint | null;
}

/** What a lane has applied of its own ranges. */
export interface LanePosition {
  readonly nextOffset: bigint;
  readonly through: Lsn;
  readonly epoch: number;
}

export interface LaneProgress extends LanePosition {
  readonly lane: number;
  /** Since the spread was opened. */
  readonly counts: LaneCounts;
}

export interface LaneCounts {
  readonly insert: number;
  readonly update: number;
  readonly delete: number;
}

const STATEMENTS = [
  `CREATE TABLE IF NOT EXISTS restage.spread (
     pipeline text PRIMARY KEY, id uuid NOT NULL, lanes int NOT NULL, split text[] NOT NULL, until_offset bigint, lease_token uuid NOT NULL,
     opened_at timestamptz NOT NULL DEFAULT clock_timestamp())`,
  `CREATE TABLE IF NOT EXISTS restage.lane (
     pipeline text, lane int, next_offset bigint NOT NULL, through pg_lsn NOT NULL, epoch bigint NOT NULL, lease_token uuid,
     inserts bigint NOT NULL DEFAULT 0, updates bigint NOT NULL DEFAULT 0, deletes bigint NOT NULL DEFAULT 0,
     updated_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (pipeline, lane))`,
];

export interface SpreadRow {
  readonly id: string;
  readonly lanes: number;
  readonly split: string[];
  readonly until: string | null;
}

export const SPREAD_COLUMNS = 's.id::text AS id, s.lanes, s.split, s.until_offset::text AS until';

export function toSpread({ id, lanes, split, until }: SpreadRow): Spread {
  return { id, lanes, split, until: until === null ? null : BigInt(until) };
}

/** Only read; null where none is open. */
export async function findSpread(client: pg.ClientBase, pipeline: string): Promise<Spread | null> {
  if (!(await hasSpreads(client))) return null;
  const sql = `SELECT ${SPREAD_COLUMNS} FROM restage.spread s WHERE s.pipeline = $1`;
  const [row] = (await client.query<SpreadRow>(sql, [pipeline])).rows;
  return row === undefined ? null : toSpread(row);
}

/** Whether any spread was ever opened in this target. */
export async function hasSpreads(client: pg.ClientBase): Promise<boolean> {
  return (await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.lane')`)).rowCount === 1;
}

/** Where the lanes stand, in their order; none where no spread is open. */
export async function readProgress(client: pg.ClientBase, pipeline: string): Promise<LaneProgress[]> {
  const { rows } = await client.query<
    Record<'next' | 'through' | 'epoch' | 'i' | 'u' | 'd', string> & { lane: number }
  >(
    `SELECT lane, next_offset::text AS next, through::text AS through, epoch::text AS epoch, inserts::text AS i, updates::text AS u, deletes::text AS d
       FROM restage.lane WHERE pipeline = $1 ORDER BY lane`,
    [pipeline],
  );
  return rows.map(({ lane, next, through, epoch, i, u, d }) => ({
    lane,
    nextOffset: BigInt(next),
    through: parseLsn(through),
    epoch: Number(epoch),
    counts: { insert: Number(i), update: Number(u), delete: Number(d) },
  }));
}

/**
 * The main loop's side of a spread, in the transaction of whoever may move the position: its lock on the checkpoint's row keeps the lanes out.
 * While a spread is open the checkpoint's form is one that versions without lanes refuse: the position there is only a lower bound.
 */
export class SpreadState {
  readonly #pipeline: string;

  constructor(pipeline: string) {
    this.#pipeline = pipeline;
  }

  /** What is open is this holder's from here on; null for nothing. @throws RestageError state_damaged. */
  async adopt(client: pg.ClientBase): Promise<Spread | null> {
    const { rows } = await client.query<{ format: number }>(
      'SELECT format FROM restage.checkpoint WHERE pipeline = $1',
      [this.#pipeline],
    );
    const spread = await findSpread(client, this.#pipeline);
    if (spread === null) {
      if (rows[0]?.format === SPREAD_FORMAT)
        throw damaged('restage.checkpoint says that lanes apply, and restage.spread has no row');
      return null;
    }
    const lanes = await readProgress(client, this.#pipeline);
    if (lanes.length !== spread.lanes || lanes.some(({ lane }, index) => lane !== index))
      throw damaged(`restage.spread has ${spread.lanes} lanes, restage.lane ${lanes.length}`);
    await client.query(
      `UPDATE restage.spread s SET lease_token = c.lease_token FROM restage.checkpoint c WHERE s.pipeline = $1 AND c.pipeline = $1`,
      [this.#pipeline],
    );
    return spread;
  }

  async open(client: pg.ClientBase, { id, lanes, split }: Spread, from: LanePosition): Promise<void> {
    if (!(await hasSpreads(client))) for (const statement of STATEMENTS) await client.query(statement);
    await client.query(
      `INSERT INTO restage.spread (pipeline, id, lanes, split, lease_token)
       SELECT $1, $2, $3, $4, lease_token FROM restage.checkpoint WHERE pipeline = $1`,
      [this.#pipeline, id, lanes, split],
    );
    await client.query(
      `INSERT INTO restage.lane (pipeline, lane, next_offset, through, epoch)
       SELECT $1, lane, $3, $4, $5 FROM generate_series(0, $2::int - 1) AS lane`,
      [this.#pipeline, lanes, String(from.nextOffset), formatLsn(from.through), from.epoch],
    );
    await this.#mark(client, SPREAD_FORMAT);
  }

  async converge(client: pg.ClientBase, until: bigint): Promise<void> {
    const sql = 'UPDATE restage.spread SET until_offset = $2 WHERE pipeline = $1';
    await client.query(sql, [this.#pipeline, String(until)]);
  }

  async close(client: pg.ClientBase): Promise<void> {
    await client.query('DELETE FROM restage.lane WHERE pipeline = $1', [this.#pipeline]);
    await client.query('DELETE FROM restage.spread WHERE pipeline = $1', [this.#pipeline]);
    await this.#mark(client, STATE_FORMAT);
  }

  async #mark(client: pg.ClientBase, format: number): Promise<void> {
    await client.query('UPDATE restage.checkpoint SET format = $2 WHERE pipeline = $1', [this.#pipeline, format]);
  }
}
