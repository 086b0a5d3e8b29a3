import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import { readGate } from '../migration/side-state.ts';

/** Version of the state's form in a target … */
export const STATE_FORMAT = 1;
/** … and while lanes apply: versions without lanes would take the lower bound that the checkpoint has for the position. */
export const SPREAD_FORMAT = 2;

/** A pipeline's position in a target. */
export interface Checkpoint {
  readonly incarnation: string;
  /** 1: chunks, 2: stream. */
  readonly pass: 1 | 2;
  /** Offset on `.epochs` of the first plan. */
  readonly planOffset: bigint;
  /** Offset of the next manifest to consume in pass 2. */
  readonly nextOffset: bigint;
  readonly through: Lsn;
  readonly isLoadDone: boolean;
}

/** Where a stream of epochs begins for a target that has the rows already. */
export interface AdoptedLife {
  readonly incarnation: string;
  /** Of the newest load that is over, and every topic that it or one before it brought. */
  readonly planOffset: bigint;
  readonly load: number;
  readonly topics: readonly string[];
  readonly through: Lsn;
}

export interface TableLoad {
  readonly load: number;
  /** Changes that committed before it are in the table's snapshot; null until the table's last chunk. */
  readonly snapshot: Lsn | null;
}

const STATEMENTS = [
  'CREATE SCHEMA IF NOT EXISTS restage',
  `CREATE TABLE IF NOT EXISTS restage.checkpoint (
     pipeline text PRIMARY KEY, format int NOT NULL, incarnation text NOT NULL, pass int NOT NULL, plan_offset bigint NOT NULL,
     next_offset bigint NOT NULL, epoch bigint NOT NULL, commit_lsn pg_lsn, through pg_lsn NOT NULL, load_done boolean NOT NULL,
     lease_token uuid NOT NULL, updated_at timestamptz NOT NULL DEFAULT clock_timestamp())`,
  `CREATE TABLE IF NOT EXISTS restage.chunk_ledger (
     pipeline text, topic text, load int, chunk int, part int, rows bigint NOT NULL, PRIMARY KEY (pipeline, topic, load, chunk, part))`,
  `CREATE TABLE IF NOT EXISTS restage.table_load (
     pipeline text, topic text, load int NOT NULL, snapshot pg_lsn, PRIMARY KEY (pipeline, topic))`,
];

interface CheckpointRow {
  readonly incarnation: string;
  readonly pass: number;
  readonly plan_offset: string;
  readonly next_offset: string;
  readonly through: string;
  readonly load_done: boolean;
}

const CHECKPOINT = 'incarnation, pass, plan_offset::text, next_offset::text, through::text, load_done';

interface NewPosition {
  readonly epoch: number;
  readonly commit: Lsn | null;
  readonly through: Lsn;
  readonly nextOffset: bigint;
}

interface StateStatement {
  readonly text: string;
  readonly values: (string | null)[];
}

/** The pipeline's row, only read; null where there is none. @throws RestageError state_newer. */
export async function findCheckpoint(client: pg.ClientBase, pipeline: string): Promise<Checkpoint | null> {
  if (!(await hasKnownRow(client, pipeline))) return null;
  const sql = `SELECT ${CHECKPOINT} FROM restage.checkpoint WHERE pipeline = $1`;
  const [row] = (await client.query<CheckpointRow>(sql, [pipeline])).rows;
  return row === undefined ? null : toCheckpoint(row);
}

/** A newer version's row may have another form: nothing else is asked of it. @throws RestageError state_newer. */
async function hasKnownRow(client: pg.ClientBase, pipeline: string): Promise<boolean> {
  const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.checkpoint')`);
  if (known.rowCount === 0) return false;
  const sql = 'SELECT format FROM restage.checkpoint WHERE pipeline = $1';
  const [row] = (await client.query<{ format: number }>(sql, [pipeline])).rows;
  if (row !== undefined) requireKnownFormat(row.format, pipeline);
  return row !== undefined;
}

function toCheckpoint(row: CheckpointRow): Checkpoint {
  return {
    incarnation: row.incarnation,
    pass: row.pass === 1 ? 1 : 2,
    planOffset: BigInt(row.plan_offset),
    nextOffset: BigInt(row.next_offset),
    through: parseLsn(row.through),
    isLoadDone: row.load_done,
  };
}

/** @throws RestageError state_newer. */
export function requireKnownFormat(format: number, pipeline: string): void {
  if (format <= SPREAD_FORMAT) return;
  throw new RestageError('state_newer', `the target's state has form ${format}, newer than this Restage reads`, {
    where: `restage.checkpoint, pipeline ${pipeline}`,
    fix: 'use the newer version of Restage that wrote it',
  });
}

/** Topics of which rows came or are to come, only read; none where there is no state. */
export async function readLoadedTopics(client: pg.ClientBase, pipeline: string): Promise<string[]> {
  const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.table_load')`);
  if (known.rowCount === 0) return [];
  const sql = 'SELECT topic FROM restage.table_load WHERE pipeline = $1 ORDER BY topic';
  return (await client.query<{ topic: string }>(sql, [pipeline])).rows.map(({ topic }) => topic);
}

/** Restage's own tables in a target. Every write is made in the transaction of the data it covers (invariant 2). */
export class TargetState {
  readonly #pipeline: string;
  readonly #token: string;
  #hasHeld = false;

  /** `token` names this holder of the lease; every apply compares it. */
  constructor(pipeline: string, token: string) {
    this.#pipeline = pipeline;
    this.#token = token;
  }

  /** Makes the tables where they are missing; needs CREATE on the database once. */
  async prepare(client: pg.ClientBase): Promise<void> {
    const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.table_load')`);
    if (known.rowCount === 1) return;
    const hasSchema = (await client.query(`SELECT FROM pg_namespace WHERE nspname = 'restage'`)).rowCount === 1;
    for (const statement of hasSchema ? STATEMENTS.slice(1) : STATEMENTS) await client.query(statement);
  }

  /** Takes the row over for this holder; null where there is none. @throws RestageError state_newer. */
  async open(client: pg.ClientBase): Promise<Checkpoint | null> {
    if (!(await hasKnownRow(client, this.#pipeline))) return null;
    // One statement: a holder that has not noticed its loss may still be committing, and its position counts.
    const sql = `UPDATE restage.checkpoint SET lease_token = $2 WHERE pipeline = $1 RETURNING ${CHECKPOINT}`;
    const [row] = (await client.query<CheckpointRow>(sql, [this.#pipeline, this.#token])).rows;
    this.#hasHeld = row !== undefined;
    return row === undefined ? null : toCheckpoint(row);
  }

  /**
   * After `open`: a switch that closed the gate before it is seen here, and one that comes later changes the token again.
   * @throws RestageError lease_lost.
   */
  async requireGate(client: pg.ClientBase): Promise<void> {
    const reason = await readGate(client, this.#pipeline);
    if (typeof reason === 'string')
      throw new RestageError('lease_lost', `this sink may not apply: ${reason}`, { where: 'restage.sink_gate' });
  }

  /**
   * A position without the tables that explain it would apply rows again, or leave some out.
   * @throws RestageError state_damaged.
   */
  async requireWhole(client: pg.ClientBase, { pass, planOffset, nextOffset }: Checkpoint): Promise<void> {
    const { rows } = await client.query<{ name: string; is_there: boolean }>(
      `SELECT name, to_regclass('restage.' || name) IS NOT NULL AS is_there FROM unnest($1::text[]) AS name`,
      [['chunk_ledger', 'table_load']],
    );
    const gone = rows.filter((row) => !row.is_there).map(({ name }) => `restage.${name}`);
    if (gone.length > 0) throw damaged(`${gone.join(', ')} is gone`);
    if (planOffset < 0n || nextOffset < planOffset)
      throw damaged(`restage.checkpoint has plan_offset ${planOffset} and next_offset ${nextOffset}`);
    const loads = await client.query('SELECT FROM restage.table_load WHERE pipeline = $1 LIMIT 1', [this.#pipeline]);
    if (pass === 2 && loads.rowCount === 0) throw damaged('restage.table_load has no row of this pipeline');
  }

  /** A load that was begun, and no position: to begin again would apply what is there twice. @throws RestageError state_damaged. */
  async requireUnbegun(client: pg.ClientBase): Promise<void> {
    const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.table_load')`);
    if (known.rowCount === 0) return;
    const loads = await client.query('SELECT FROM restage.table_load WHERE pipeline = $1 LIMIT 1', [this.#pipeline]);
    if (loads.rowCount !== 0)
      throw damaged('restage.checkpoint has no row of this pipeline, restage.table_load has some');
  }

  async begin(client: pg.ClientBase, incarnation: string, planOffset: bigint, through: Lsn): Promise<void> {
    await client.query(
      `INSERT INTO restage.checkpoint (pipeline, format, incarnation, pass, plan_offset, next_offset, epoch, through, load_done, lease_token)
       VALUES ($1, $2, $3, 1, $4, $4, 0, $5, false, $6)`,
      [this.#pipeline, STATE_FORMAT, incarnation, String(planOffset), formatLsn(through), this.#token],
    );
    this.#hasHeld = true;
  }

  /**
   * A position that no load came before: both sides have the same rows, and what committed before `through` is in them. In the caller's
   * transaction. A position of the same life moves to `through`.
   */
  async adopt(client: pg.ClientBase, { incarnation, planOffset, load, topics, through }: AdoptedLife): Promise<void> {
    const position = [this.#pipeline, incarnation, formatLsn(through), this.#token];
    const moved = await client.query(
      'UPDATE restage.checkpoint SET through = greatest(through, $3::pg_lsn), lease_token = $4 WHERE pipeline = $1 AND incarnation = $2',
      position,
    );
    if (moved.rowCount === 1) return this.#adoptLanes(client, through);
    const spread = (await this.#hasLanes(client)) ? ['spread', 'lane'] : [];
    for (const table of ['checkpoint', 'chunk_ledger', 'table_load', ...spread])
      await client.query(`DELETE FROM restage.${table} WHERE pipeline = $1`, [this.#pipeline]);
    await client.query(
      `INSERT INTO restage.checkpoint (pipeline, format, incarnation, pass, plan_offset, next_offset, epoch, through, load_done, lease_token)
       VALUES ($1, ${STATE_FORMAT}, $2, 2, $5, $5, 0, $3, true, $4)`,
      [...position, String(planOffset)],
    );
    await client.query(
      `INSERT INTO restage.table_load (pipeline, topic, load, snapshot) SELECT $1, topic, $3, $4::pg_lsn FROM unnest($2::text[]) AS topic`,
      [this.#pipeline, topics, load, formatLsn(through)],
    );
  }

  /** Lanes that a stop of all sinks left open leave out what committed before it, too. */
  async #adoptLanes(client: pg.ClientBase, through: Lsn): Promise<void> {
    if (!(await this.#hasLanes(client))) return;
    const sql = 'UPDATE restage.lane SET through = greatest(through, $2::pg_lsn) WHERE pipeline = $1';
    await client.query(sql, [this.#pipeline, formatLsn(through)]);
  }

  async #hasLanes(client: pg.ClientBase): Promise<boolean> {
    return (await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.lane')`)).rowCount === 1;
  }

  /** First in every apply's transaction: whoever lost the lease changes nothing. @throws RestageError lease_lost. */
  async guard(client: pg.ClientBase, lock: 'UPDATE' | 'SHARE'): Promise<void> {
    const { rows } = await client.query<{ ours: boolean }>(this.guardStatement(lock));
    if (rows[0]?.ours !== true) throw takenOver();
  }

  /** The statement of `guard`: one row whose `ours` is true. */
  guardStatement(lock: 'UPDATE' | 'SHARE'): StateStatement {
    return {
      text: `SELECT lease_token = $2 AS ours FROM restage.checkpoint WHERE pipeline = $1 FOR ${lock}`,
      values: [this.#pipeline, this.#token],
    };
  }

  /** The same without a lock: for who looks, and changes nothing. @throws RestageError lease_lost. */
  async requireHeld(client: pg.ClientBase): Promise<void> {
    const { rows } = await client.query<{ ours: boolean }>(
      'SELECT lease_token = $2 AS ours FROM restage.checkpoint WHERE pipeline = $1',
      [this.#pipeline, this.#token],
    );
    if (rows[0]?.ours !== true) throw takenOver();
  }

  /** Whoever had the position has it still; for one that never had it there is nothing to lose. @throws RestageError lease_lost. */
  async requireUntaken(client: pg.ClientBase): Promise<void> {
    if (this.#hasHeld) await this.requireHeld(client);
  }

  async moveTo(client: pg.ClientBase, position: NewPosition): Promise<void> {
    await client.query(this.moveStatement(position));
  }

  /** The statement of `moveTo`. */
  moveStatement({ epoch, commit, through, nextOffset }: NewPosition): StateStatement {
    return {
      text: `UPDATE restage.checkpoint SET epoch = $2, commit_lsn = coalesce($3, commit_lsn), through = $4, next_offset = $5, updated_at = clock_timestamp()
              WHERE pipeline = $1`,
      values: [
        this.#pipeline,
        String(epoch),
        commit === null ? null : formatLsn(commit),
        formatLsn(through),
        String(nextOffset),
      ],
    };
  }

  /** @throws RestageError lease_lost. */
  async startStream(client: pg.ClientBase, nextOffset: bigint): Promise<void> {
    const done = await client.query(
      'UPDATE restage.checkpoint SET pass = 2, next_offset = $3 WHERE pipeline = $1 AND lease_token = $2',
      [this.#pipeline, this.#token, String(nextOffset)],
    );
    if (done.rowCount !== 1) throw takenOver();
  }

  /** @throws RestageError lease_lost. */
  async finishLoad(client: pg.ClientBase): Promise<void> {
    const done = await client.query(
      'UPDATE restage.checkpoint SET load_done = true WHERE pipeline = $1 AND lease_token = $2',
      [this.#pipeline, this.#token],
    );
    if (done.rowCount !== 1) throw takenOver();
  }

  async tableLoads(client: pg.ClientBase): Promise<Map<string, TableLoad>> {
    const { rows } = await client.query<{ topic: string; load: number; snapshot: string | null }>(
      'SELECT topic, load, snapshot::text AS snapshot FROM restage.table_load WHERE pipeline = $1',
      [this.#pipeline],
    );
    return new Map(
      rows.map((row) => [
        row.topic,
        { load: row.load, snapshot: row.snapshot === null ? null : parseLsn(row.snapshot) },
      ]),
    );
  }

  /** Tables are to be loaded by this load; what an earlier load noted of them is forgotten. */
  async planTables(client: pg.ClientBase, topics: readonly string[], load: number): Promise<void> {
    await client.query('DELETE FROM restage.chunk_ledger WHERE pipeline = $1 AND topic = ANY ($2::text[])', [
      this.#pipeline,
      topics,
    ]);
    await client.query(
      `INSERT INTO restage.table_load (pipeline, topic, load) SELECT $1, topic, $3 FROM unnest($2::text[]) AS topic
       ON CONFLICT (pipeline, topic) DO UPDATE SET load = excluded.load, snapshot = NULL`,
      [this.#pipeline, topics, load],
    );
  }

  async endTables(client: pg.ClientBase, topics: readonly string[], snapshot: Lsn): Promise<void> {
    const sql = 'UPDATE restage.table_load SET snapshot = $3 WHERE pipeline = $1 AND topic = ANY ($2::text[])';
    await client.query(sql, [this.#pipeline, topics, formatLsn(snapshot)]);
  }

  /** Says for people that tables were emptied to be loaded again; in the transaction that does it. */
  async noteRetake(client: pg.ClientBase, load: number, topics: readonly string[]): Promise<void> {
    await client.query(
      `INSERT INTO restage.journal (pipeline, step, started_at, finished_at, detail)
       VALUES ($1, $2, transaction_timestamp(), clock_timestamp(), $3::text::jsonb) ON CONFLICT DO NOTHING`,
      [this.#pipeline, `load:${load}:retake`, JSON.stringify({ topics })],
    );
  }

  /** False when this part is applied already. */
  async noteChunk(
    client: pg.ClientBase,
    part: { topic: string; load: number; chunk: number; part: number; rows: number },
  ): Promise<boolean> {
    const done = await client.query(
      'INSERT INTO restage.chunk_ledger VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING',
      [this.#pipeline, part.topic, part.load, part.chunk, part.part, part.rows],
    );
    return done.rowCount === 1;
  }
}

function takenOver(): RestageError {
  return new RestageError('lease_lost', 'another sink took this target over', { where: 'restage.checkpoint' });
}

export function damaged(where: string): RestageError {
  return new RestageError('state_damaged', "the target's state is not whole, and nothing is applied over it", {
    where,
    fix: 'put schema restage back as it was, together with the data of that time; else an empty target and another pipeline name',
  });
}
