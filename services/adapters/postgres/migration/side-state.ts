import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { inTransaction } from '../in-transaction.ts';

/** A database as one side of a migration: `restage.side`, one row a pipeline. */
export interface SideState {
  /** Of the newest operator that was here. */
  readonly term: number;
  /** Its guard lets writers through. */
  readonly isOpen: boolean;
  /** ISO 8601: a closed guard lets writers through from then on; null: it stays closed. */
  readonly until: string | null;
  /** By the database's own clock: whether a writer is let through now. */
  readonly isWritable: boolean;
}

const STATEMENTS = [
  'CREATE SCHEMA IF NOT EXISTS restage',
  `CREATE TABLE IF NOT EXISTS restage.side (
     pipeline text PRIMARY KEY, term bigint NOT NULL, is_open boolean NOT NULL, until timestamptz, changed_at timestamptz NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS restage.sink_gate (pipeline text PRIMARY KEY, is_closed boolean NOT NULL, reason text NOT NULL)`,
];

async function isThere(client: pg.ClientBase, table: 'side' | 'sink_gate' | 'migration_record'): Promise<boolean> {
  return (await client.query('SELECT FROM pg_class WHERE oid = to_regclass($1)', [`restage.${table}`])).rowCount === 1;
}

/** Makes the tables where they are missing. @throws RestageError switch_refused where the role may not. */
export async function prepareSide(client: pg.ClientBase): Promise<void> {
  if ((await isThere(client, 'side')) && (await isThere(client, 'sink_gate'))) return;
  const missing = await findMissingRight(client);
  if (missing !== null)
    throw new RestageError('switch_refused', `${missing.role} may not keep a migration's state in its database`, {
      where: `database ${missing.database}, schema restage`,
      fix: missing.fix,
    });
  const hasSchema = (await client.query(`SELECT FROM pg_namespace WHERE nspname = 'restage'`)).rowCount === 1;
  for (const statement of hasSchema ? STATEMENTS.slice(1) : STATEMENTS) await client.query(statement);
}

/** What the role would need to make the tables; null where it may. The schema may be there by a statement of `restage check`, as another's. */
export async function findMissingRight(
  client: pg.ClientBase,
): Promise<{ readonly role: string; readonly database: string; readonly fix: string } | null> {
  const { rows } = await client.query<{ role: string; database: string; there: boolean; may: boolean }>(
    `SELECT quote_ident(current_user) AS role, quote_ident(current_database()) AS database, n.oid IS NOT NULL AS there,
            CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'create')
                 ELSE has_schema_privilege(n.oid, 'create') AND has_schema_privilege(n.oid, 'usage') END AS may
       FROM (SELECT) AS one LEFT JOIN pg_namespace n ON n.nspname = 'restage'`,
  );
  const [row] = rows;
  if (row === undefined || row.may) return null;
  const { role, database, there } = row;
  const fix = there
    ? `GRANT USAGE, CREATE ON SCHEMA restage TO ${role};`
    : `GRANT CREATE ON DATABASE ${database} TO ${role};`;
  return { role, database, fix };
}

/** null before the first operator. */
export async function readSide(client: pg.ClientBase, pipeline: string): Promise<SideState | null> {
  if (!(await isThere(client, 'side'))) return null;
  const { rows } = await client.query<{ term: string; is_open: boolean; until: string | null; is_writable: boolean }>(
    `SELECT term::text AS term, is_open, is_open OR coalesce(clock_timestamp() >= until, false) AS is_writable,
            to_char(until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS until
       FROM restage.side WHERE pipeline = $1`,
    [pipeline],
  );
  const [row] = rows;
  if (row === undefined) return null;
  return { term: Number(row.term), isOpen: row.is_open, until: row.until, isWritable: row.is_writable };
}

/** Registers an operator: whoever has a lower term changes nothing here any more. `isOpen` is for a side that nobody looked after yet. */
export async function takeTerm(
  client: pg.ClientBase,
  pipeline: string,
  atLeast: number,
  isOpen: boolean,
): Promise<number> {
  const { rows } = await client.query<{ term: string }>(
    `INSERT INTO restage.side AS s (pipeline, term, is_open, changed_at) VALUES ($1, $2, $3, clock_timestamp())
     ON CONFLICT (pipeline) DO UPDATE SET term = greatest(s.term + 1, excluded.term) RETURNING term::text AS term`,
    [pipeline, atLeast, isOpen],
  );
  return Number(rows[0]?.term ?? atLeast);
}

/** The same at the other side, with the term that the first one gave. @throws RestageError operator_lost. */
export async function joinTerm(client: pg.ClientBase, pipeline: string, term: number, isOpen: boolean): Promise<void> {
  const joined = await client.query(
    `INSERT INTO restage.side AS s (pipeline, term, is_open, changed_at) VALUES ($1, $2, $3, clock_timestamp())
     ON CONFLICT (pipeline) DO UPDATE SET term = excluded.term WHERE s.term <= excluded.term`,
    [pipeline, term, isOpen],
  );
  if (joined.rowCount !== 1) throw operatorLost();
}

/** First in every transaction that changes what counts; holds the row until its end. @throws RestageError operator_lost. */
export async function requireTerm(client: pg.ClientBase, pipeline: string, term: number): Promise<void> {
  const { rows } = await client.query<{ term: string }>(
    'SELECT term::text AS term FROM restage.side WHERE pipeline = $1 FOR UPDATE',
    [pipeline],
  );
  if (rows[0] === undefined || Number(rows[0].term) !== term) throw operatorLost();
}

/** One transaction under the operator's term. */
export async function underTerm<T>(
  client: pg.ClientBase,
  pipeline: string,
  term: number,
  work: () => Promise<T>,
): Promise<T> {
  return inTransaction(client, async () => {
    await requireTerm(client, pipeline, term);
    return work();
  });
}

/**
 * Whether the sink of `sinkPipeline` may apply to this database. Closing also gives its checkpoint a new token, so that the transaction it
 * has in hand is waited for, and its next one refused.
 */
export async function setGate(
  client: pg.ClientBase,
  sinkPipeline: string,
  gate: { readonly isClosed: boolean; readonly reason: string },
): Promise<void> {
  await client.query(
    `INSERT INTO restage.sink_gate VALUES ($1, $2, $3)
     ON CONFLICT (pipeline) DO UPDATE SET is_closed = excluded.is_closed, reason = excluded.reason`,
    [sinkPipeline, gate.isClosed, gate.reason],
  );
  const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.checkpoint')`);
  if (gate.isClosed && known.rowCount === 1)
    await client.query('UPDATE restage.checkpoint SET lease_token = gen_random_uuid() WHERE pipeline = $1', [
      sinkPipeline,
    ]);
}

/** Why the sink may not apply; null: it may. `undefined` where no operator ever said. */
export async function readGate(client: pg.ClientBase, sinkPipeline: string): Promise<string | null | undefined> {
  if (!(await isThere(client, 'sink_gate'))) return undefined;
  const { rows } = await client.query<{ is_closed: boolean; reason: string }>(
    'SELECT is_closed, reason FROM restage.sink_gate WHERE pipeline = $1',
    [sinkPipeline],
  );
  const [row] = rows;
  return row === undefined ? undefined : row.is_closed ? row.reason : null;
}

export function operatorLost(): RestageError {
  return new RestageError('operator_lost', 'another operator took this migration over', {
    where: 'restage.side',
    fix: 'restage status says where it is; one operator at a time',
  });
}
