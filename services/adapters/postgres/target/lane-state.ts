import type pg from 'pg';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import {
  hasSpreads,
  SPREAD_COLUMNS,
  toSpread,
  type LaneCounts,
  type LanePosition,
  type Spread,
  type SpreadRow,
} from './spread-state.ts';

/**
 * One lane's row. A spread counts only under the token of the checkpoint that it was opened or adopted with: where a switch or a replay took
 * the target, no lane begins anything, and what one has in hand is waited for, since it shares the checkpoint's row.
 */
export class LaneState {
  readonly #pipeline: string;
  readonly #lane: number;
  /** Names this holder of the lane's lease. */
  readonly #token: string;

  constructor(pipeline: string, lane: number, token: string) {
    this.#pipeline = pipeline;
    this.#lane = lane;
    this.#token = token;
  }

  /** What is open and has somebody who leads it; null for nothing. */
  async spread(client: pg.ClientBase): Promise<Spread | null> {
    if (!(await hasSpreads(client))) return null;
    const { rows } = await client.query<SpreadRow>(
      `SELECT ${SPREAD_COLUMNS} FROM restage.spread s JOIN restage.checkpoint c USING (pipeline, lease_token) WHERE s.pipeline = $1`,
      [this.#pipeline],
    );
    const [row] = rows;
    return row === undefined ? null : toSpread(row);
  }

  /** Takes the lane's position over; null where the spread is over, or has no such lane. */
  async take(client: pg.ClientBase, { id }: Spread): Promise<LanePosition | null> {
    // One statement: a holder that has not noticed its loss may still be committing, and its position counts.
    const { rows } = await client.query<{ next: string; through: string; epoch: string }>(
      `UPDATE restage.lane l SET lease_token = $3 FROM restage.spread s
        WHERE l.pipeline = $1 AND l.lane = $2 AND s.pipeline = $1 AND s.id = $4
        RETURNING l.next_offset::text AS next, l.through::text AS through, l.epoch::text AS epoch`,
      [this.#pipeline, this.#lane, this.#token, id],
    );
    const [row] = rows;
    if (row === undefined) return null;
    return { nextOffset: BigInt(row.next), through: parseLsn(row.through), epoch: Number(row.epoch) };
  }

  /** First in a transaction: where the lane has to stop; undefined where it may not apply anything of this spread (any more). */
  async guard(client: pg.ClientBase, { id }: Spread): Promise<bigint | null | undefined> {
    const { rows } = await client.query<{ until: string | null; ours: boolean }>(
      `SELECT s.until_offset::text AS until, coalesce(l.lease_token = $3, false) AS ours
         FROM restage.checkpoint c
         JOIN restage.spread s ON s.pipeline = c.pipeline AND s.lease_token = c.lease_token
         JOIN restage.lane l ON l.pipeline = c.pipeline AND l.lane = $2
        WHERE c.pipeline = $1 AND s.id = $4
          FOR SHARE OF c, s FOR UPDATE OF l`,
      [this.#pipeline, this.#lane, this.#token, id],
    );
    const [row] = rows;
    if (row?.ours !== true) return undefined;
    return row.until === null ? null : BigInt(row.until);
  }

  /** In the transaction of the data that it covers (invariant 2). */
  async moveTo(client: pg.ClientBase, { nextOffset, through, epoch }: LanePosition, counts: LaneCounts): Promise<void> {
    await client.query(
      `UPDATE restage.lane SET next_offset = $3, through = $4, epoch = $5, inserts = inserts + $6, updates = updates + $7, deletes = deletes + $8,
              updated_at = clock_timestamp()
        WHERE pipeline = $1 AND lane = $2`,
      [
        this.#pipeline,
        this.#lane,
        String(nextOffset),
        formatLsn(through),
        epoch,
        counts.insert,
        counts.update,
        counts.delete,
      ],
    );
  }
}
