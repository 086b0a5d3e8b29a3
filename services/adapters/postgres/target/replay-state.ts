import type pg from 'pg';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';

/** The newest replay into a target, `restage.replay`: what it was asked for, and where it has to stop. */
export interface Replay {
  /** `beginning`, an LSN or a time, as it was asked for. */
  readonly from: string;
  /** The stream of epochs that it reads. */
  readonly prefix: string;
  /** The target's tables were emptied for it. */
  readonly isForced: boolean;
  /** All that committed before it is applied and nothing else, also by any sink after it; null: no bound. */
  readonly bound: Lsn | null;
  readonly isFinished: boolean;
}

const STATEMENTS = [
  'CREATE SCHEMA IF NOT EXISTS restage',
  `CREATE TABLE IF NOT EXISTS restage.replay (
     pipeline text PRIMARY KEY, asked_from text NOT NULL, prefix text NOT NULL, forced boolean NOT NULL, bound pg_lsn,
     started_at timestamptz NOT NULL, finished_at timestamptz)`,
];

/** Of the lease that a replay holds beside the sink's as long as it lives, in its target. */
export function replayLease(pipeline: string, target: string): string {
  return `${pipeline}.replay.${target}`;
}

/** Makes the table where it is missing. */
export async function prepareReplays(client: pg.ClientBase): Promise<void> {
  if (await isThere(client)) return;
  const hasSchema = (await client.query(`SELECT FROM pg_namespace WHERE nspname = 'restage'`)).rowCount === 1;
  for (const statement of hasSchema ? STATEMENTS.slice(1) : STATEMENTS) await client.query(statement);
}

/** null where there never was one. */
export async function findReplay(client: pg.ClientBase, pipeline: string): Promise<Replay | null> {
  if (!(await isThere(client))) return null;
  const { rows } = await client.query<{
    asked_from: string;
    prefix: string;
    forced: boolean;
    bound: string | null;
    finished: boolean;
  }>(
    `SELECT asked_from, prefix, forced, bound::text AS bound, finished_at IS NOT NULL AS finished
       FROM restage.replay WHERE pipeline = $1`,
    [pipeline],
  );
  const [row] = rows;
  if (row === undefined) return null;
  return {
    from: row.asked_from,
    prefix: row.prefix,
    isForced: row.forced,
    bound: row.bound === null ? null : parseLsn(row.bound),
    isFinished: row.finished,
  };
}

/** One begins, in the place of the one before; in the transaction of what it empties. `detail` is for people who read the journal. */
export async function noteReplay(
  client: pg.ClientBase,
  pipeline: string,
  { from, prefix, isForced, bound }: Omit<Replay, 'isFinished'>,
  detail: object,
): Promise<void> {
  await closeJournal(client, pipeline);
  await client.query(
    `WITH begun AS (
       INSERT INTO restage.replay (pipeline, asked_from, prefix, forced, bound, started_at) VALUES ($1, $2, $3, $4, $5, clock_timestamp())
       ON CONFLICT (pipeline) DO UPDATE SET asked_from = excluded.asked_from, prefix = excluded.prefix, forced = excluded.forced,
         bound = excluded.bound, started_at = excluded.started_at, finished_at = NULL
       RETURNING started_at)
     INSERT INTO restage.journal (pipeline, step, started_at, detail)
     SELECT $1, 'replay:' || started_at::text, started_at, $6::text::jsonb FROM begun`,
    [pipeline, from, prefix, isForced, bound === null ? null : formatLsn(bound), JSON.stringify(detail)],
  );
}

/** The same replay goes on after it was cut short, perhaps to another bound. */
export async function moveBound(client: pg.ClientBase, pipeline: string, bound: Lsn | null): Promise<void> {
  await client.query('UPDATE restage.replay SET bound = $2 WHERE pipeline = $1', [
    pipeline,
    bound === null ? null : formatLsn(bound),
  ]);
}

/** It is where it was to go, or a sink without a bound goes on in its place. */
export async function finishReplay(client: pg.ClientBase, pipeline: string): Promise<void> {
  await client.query('UPDATE restage.replay SET finished_at = clock_timestamp() WHERE pipeline = $1', [pipeline]);
  await closeJournal(client, pipeline);
}

async function closeJournal(client: pg.ClientBase, pipeline: string): Promise<void> {
  await client.query(
    `UPDATE restage.journal SET finished_at = clock_timestamp() WHERE pipeline = $1 AND step LIKE 'replay:%' AND finished_at IS NULL`,
    [pipeline],
  );
}

async function isThere(client: pg.ClientBase): Promise<boolean> {
  return (await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.replay')`)).rowCount === 1;
}
