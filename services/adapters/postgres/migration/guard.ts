import { createHash } from 'node:crypto';
import type pg from 'pg';
import { sqlStateOf } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { formatTable, quoteIdentifier, quoteLiteral, quoteTable, type TableName } from '#core/table-name.ts';
import { inTransaction } from '../in-transaction.ts';
import { prepareSide, readSide, underTerm } from './side-state.ts';

/** Whose tables a guard stands before, and for whom. */
export interface GuardPlace {
  readonly client: pg.ClientBase;
  readonly pipeline: string;
  readonly tables: readonly TableName[];
}

interface GuardedTable extends TableName {
  readonly has_guard: boolean;
}

const READ_ONLY = '25006';
/** Locks of a table that is being written are waited for this long; then the attempt is given up, so that others go on meanwhile. */
const LOCK_MS = 2_000;
const LONGEST_NAME = 63;
const LOCK_MODE = 'SHARE ROW EXCLUSIVE';

export function guardName(pipeline: string): string {
  return fit(`restage_guard_${pipeline}`);
}

function guardFunction(pipeline: string): string {
  return `restage.${quoteIdentifier(fit(`guard_${pipeline}`))}`;
}

/** PostgreSQL cuts longer names without a word (PostgreSQL: "Identifiers and Key Words"). */
function fit(name: string): string {
  if (name.length <= LONGEST_NAME) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 12);
  return `${name.slice(0, LONGEST_NAME - 13)}_${hash}`;
}

/**
 * The tables themselves, and all that they inherit from or that inherits from them: a statement trigger meets only statements that name
 * its own table (PostgreSQL: "CREATE TRIGGER").
 */
async function readGuarded({ client, pipeline, tables }: GuardPlace): Promise<GuardedTable[]> {
  const { rows } = await client.query<GuardedTable>(
    `WITH RECURSIVE chosen AS (
       SELECT c.oid FROM unnest($1::text[], $2::text[]) AS t(schema, name)
         JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name),
     up AS (SELECT oid FROM chosen UNION SELECT i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.oid),
     down AS (SELECT oid FROM chosen UNION SELECT i.inhrelid FROM down JOIN pg_inherits i ON i.inhparent = down.oid)
     SELECT n.nspname AS schema, c.relname AS table,
            EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname = $3 AND g.tgenabled <> 'D') AS has_guard
       FROM (SELECT oid FROM up UNION SELECT oid FROM down) a JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') ORDER BY c.oid`,
    [tables.map((table) => table.schema), tables.map((table) => table.table), guardName(pipeline)],
  );
  return rows;
}

/** `until`: a timestamptz as text; null: for good. */
function functionSql(pipeline: string, closed: { readonly until: string | null } | null): string {
  const head = `CREATE OR REPLACE FUNCTION ${guardFunction(pipeline)}() RETURNS trigger LANGUAGE plpgsql AS`;
  if (closed === null) return `${head} ${quoteLiteral('BEGIN RETURN NULL; END')}`;
  const ends =
    closed.until === null
      ? ''
      : ` OR pg_catalog.clock_timestamp() >= ${quoteLiteral(closed.until)}::pg_catalog.timestamptz`;
  const body = `BEGIN
  IF pg_catalog.current_setting('restage.writer', true) = 'on'${ends} THEN RETURN NULL; END IF;
  RAISE EXCEPTION USING ERRCODE = '${READ_ONLY}',
    MESSAGE = 'this database does not take writes to ' || TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME || ' now',
    HINT = 'migration ${pipeline}: restage status says which side is live';
END`;
  return `${head} ${quoteLiteral(body)}`;
}

/**
 * Puts guards before the tables, open or closed as the side's row says, one short lock after another. What is there already stays.
 * @throws RestageError fence_blocked where a table is never to be had.
 */
export async function installGuards(place: GuardPlace, term: number, attempts = 30): Promise<number> {
  const { client, pipeline } = place;
  await prepareSide(client);
  await underTerm(client, pipeline, term, () => replaceBySide(client, pipeline));
  const missing = (await readGuarded(place)).filter((table) => !table.has_guard);
  for (const table of missing) {
    for (let left = attempts; ; left -= 1) {
      try {
        await client.query('BEGIN');
        await client.query(`SET LOCAL lock_timeout = '${LOCK_MS}ms'`);
        await makeTrigger(client, pipeline, table);
        await client.query('COMMIT');
        break;
      } catch (error) {
        await client.query('ROLLBACK').catch(() => undefined);
        if (!isLockFailure(error)) throw error;
        if (left <= 1) throw await blockedBy(client, [table], error);
      }
    }
  }
  return missing.length;
}

async function replaceBySide(client: pg.ClientBase, pipeline: string): Promise<void> {
  const { rows } = await client.query<{ is_open: boolean; until: string | null }>(
    'SELECT is_open, until::text AS until FROM restage.side WHERE pipeline = $1',
    [pipeline],
  );
  const [row] = rows;
  await client.query(functionSql(pipeline, row === undefined || row.is_open ? null : { until: row.until }));
}

async function makeTrigger(client: pg.ClientBase, pipeline: string, table: TableName): Promise<void> {
  const trigger = quoteIdentifier(guardName(pipeline));
  await client.query(
    `CREATE OR REPLACE TRIGGER ${trigger} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON ${quoteTable(table)}
       FOR EACH STATEMENT EXECUTE FUNCTION ${guardFunction(pipeline)}()`.replace('CREATE OR REPLACE', 'CREATE'),
  );
  await client.query('SAVEPOINT always');
  try {
    // Else a session that acts as a replica passes: another replication into this database.
    await client.query(`ALTER TABLE ONLY ${quoteTable(table)} ENABLE ALWAYS TRIGGER ${trigger}`);
  } catch (error) {
    if (sqlStateOf(error) !== '42501') throw error;
    await client.query('ROLLBACK TO SAVEPOINT always');
  }
}

/**
 * Closes the side: when it resolves, no transaction that wrote to the tables is open, and none can write. By itself it is open again after
 * `forMs`, until `seal`. @throws RestageError fence_blocked that names who holds a table, operator_lost.
 */
export async function closeSide(
  place: GuardPlace & { readonly terminates: boolean },
  term: number,
  forMs: number,
  signal: AbortSignal,
): Promise<string> {
  const { client, pipeline } = place;
  const { rows } = await client.query<{ until: string }>(
    `SELECT (clock_timestamp() + $1::float8 * interval '1 ms')::text AS until`,
    [forMs],
  );
  const until = rows[0]?.until ?? '';
  for (;;) {
    try {
      await underLocks(place, term, async (tables) => {
        await requireNotElsewhere(client, pipeline, tables);
        await setSide(client, pipeline, { isOpen: false, until });
        await client.query(functionSql(pipeline, { until }));
      });
      return until;
    } catch (error) {
      if (!isLockFailure(error)) throw error;
      const tables = await readGuarded(place);
      if (signal.aborted) throw await blockedBy(client, tables, error);
      if (place.terminates) await endHolders(client, tables);
    }
  }
}

/** Makes the fence last, if it never let anybody through. @throws RestageError fence_ended, fence_blocked, operator_lost. */
export async function sealSide(place: GuardPlace, term: number): Promise<void> {
  const { client, pipeline } = place;
  try {
    await underLocks(place, term, async () => {
      // With every table locked nobody writes from here on, and before this moment the guard let nobody through.
      const sealed = await client.query(
        `UPDATE restage.side SET until = NULL, changed_at = clock_timestamp()
          WHERE pipeline = $1 AND NOT is_open AND (until IS NULL OR clock_timestamp() < until)`,
        [pipeline],
      );
      if (sealed.rowCount !== 1)
        throw new RestageError('fence_ended', 'the fence ended before everything was done', {
          where: 'its end is that of the time-box, by the clock of the side that was closed',
          fix: 'give the switch more time: --time-box',
        });
      await client.query(functionSql(pipeline, { until: null }));
    });
  } catch (error) {
    if (!isLockFailure(error)) throw error;
    throw await blockedBy(client, await readGuarded(place), error);
  }
}

/** Needs no lock of a table, so nothing that runs there can hold it up. @throws RestageError operator_lost. */
export async function openSide({ client, pipeline }: Omit<GuardPlace, 'tables'>, term: number): Promise<void> {
  await underTerm(client, pipeline, term, async () => {
    await setSide(client, pipeline, { isOpen: true, until: null });
    await client.query(functionSql(pipeline, null));
  });
}

/** Takes all guards of the pipeline away, wherever they stand. */
export async function removeGuards(client: pg.ClientBase, pipeline: string): Promise<void> {
  const { rows } = await client.query<TableName>(
    `SELECT n.nspname AS schema, c.relname AS table FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
       JOIN pg_namespace n ON n.oid = c.relnamespace WHERE g.tgname = $1 AND NOT g.tgisinternal ORDER BY c.oid`,
    [guardName(pipeline)],
  );
  for (const table of rows)
    await client.query(`DROP TRIGGER IF EXISTS ${quoteIdentifier(guardName(pipeline))} ON ${quoteTable(table)}`);
  const known = await client.query(`SELECT FROM pg_namespace WHERE nspname = 'restage'`);
  if (known.rowCount === 1) await client.query(`DROP FUNCTION IF EXISTS ${guardFunction(pipeline)}()`);
}

/**
 * A side's row under a name of the time when the pipeline had fewer or more targets: it goes, with its guards, while the side is open.
 * @throws RestageError switch_refused where it is closed: only who closed it may open it.
 */
export async function leaveOldSide(client: pg.ClientBase, pipeline: string): Promise<void> {
  const side = await readSide(client, pipeline);
  if (side === null) return;
  if (!side.isOpen)
    throw new RestageError('switch_refused', 'the source was closed when the pipeline had other targets', {
      where: `restage.side, ${pipeline}`,
      fix: 'end that migration first, with the targets that it had: restage rollback, or restage complete and teardown --force',
    });
  await inTransaction(client, async () => {
    await removeGuards(client, pipeline);
    await client.query('DELETE FROM restage.side WHERE pipeline = $1 AND is_open', [pipeline]);
  });
}

async function setSide(
  client: pg.ClientBase,
  pipeline: string,
  { isOpen, until }: { readonly isOpen: boolean; readonly until: string | null },
): Promise<void> {
  await client.query(
    'UPDATE restage.side SET is_open = $2, until = $3::timestamptz, changed_at = clock_timestamp() WHERE pipeline = $1',
    [pipeline, isOpen, until],
  );
}

/** All tables locked against writers, in one order; what came without a guard gets one. */
async function underLocks(
  place: GuardPlace,
  term: number,
  work: (tables: readonly TableName[]) => Promise<void>,
): Promise<void> {
  const { client, pipeline } = place;
  await underTerm(client, pipeline, term, async () => {
    await client.query(`SET LOCAL lock_timeout = '${LOCK_MS}ms'`);
    const tables = await readGuarded(place);
    const list = tables.map((table) => `ONLY ${quoteTable(table)}`).join(', ');
    if (list !== '') await client.query(`LOCK TABLE ${list} IN ${LOCK_MODE} MODE`);
    for (const table of tables) if (!table.has_guard) await makeTrigger(client, pipeline, table);
    await work(tables);
  });
}

/**
 * Tables of which another target of the pipeline is live, or is being made so, would have two writable sides. Under the locks of `underLocks`
 * two operators cannot both find none. @throws RestageError switch_refused.
 */
async function requireNotElsewhere(
  client: pg.ClientBase,
  pipeline: string,
  tables: readonly TableName[],
): Promise<void> {
  const [first, ...others] = await findElsewhere(client, pipeline, tables);
  if (first === undefined) return;
  throw new RestageError(
    'switch_refused',
    `${others.length + 1} tables are live at another target of this pipeline, or on their way`,
    {
      where: `${formatTable(first)}, closed by ${first.by}`,
      fix: 'each table has one live side: give targets that are switched tables of their own, by outputs[].tables',
    },
  );
}

/** Those of the tables that another target's migration keeps closed here. */
export async function findElsewhere(
  client: pg.ClientBase,
  pipeline: string,
  tables: readonly TableName[],
): Promise<(TableName & { readonly by: string })[]> {
  // Whoever only looks may be the first one here.
  if ((await readSide(client, pipeline)) === null) return [];
  const closed = await client.query<{ key: string }>(
    `SELECT pipeline AS key FROM restage.side WHERE NOT is_open AND pipeline <> $1 AND split_part(pipeline, '.', 1) = split_part($1, '.', 1)`,
    [pipeline],
  );
  const keyOf = new Map(closed.rows.map(({ key }) => [guardName(key), key]));
  const { rows } = await client.query<TableName & { name: string }>(
    `SELECT t.schema, t.name AS table, g.tgname::text AS name FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       JOIN pg_trigger g ON g.tgrelid = c.oid AND g.tgname = ANY ($3::text[])`,
    [tables.map((table) => table.schema), tables.map((table) => table.table), [...keyOf.keys()]],
  );
  return rows.map(({ schema, table, name }) => ({ schema, table, by: keyOf.get(name) ?? name }));
}

/** lock_not_available, deadlock_detected. */
function isLockFailure(error: unknown): boolean {
  return ['55P03', '40P01'].includes(sqlStateOf(error));
}

export interface TableHolder {
  /** null: a prepared transaction. */
  readonly pid: number | null;
  readonly who: string;
  /** null: a role without pg_read_all_stats may not see it. */
  readonly seconds: number | null;
  readonly table: string;
}

/** Who holds a lock on a table as a writer does. */
export async function readHolders(client: pg.ClientBase, tables: readonly TableName[]): Promise<TableHolder[]> {
  const { rows } = await client.query<{
    pid: number | null;
    who: string;
    seconds: number | null;
    schema: string;
    table: string;
  }>(
    `SELECT DISTINCT ON (l.virtualtransaction) l.pid, n.nspname AS schema, c.relname AS table,
            CASE WHEN l.pid IS NULL THEN 'a prepared transaction'
                 ELSE concat(a.usename, ' ' || quote_literal(a.application_name), ' from ' || host(a.client_addr), ', ' || a.state) END AS who,
            CASE WHEN l.pid IS NULL THEN 0 ELSE extract(epoch FROM clock_timestamp() - a.xact_start) END::float8 AS seconds
       FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       JOIN pg_locks l ON l.locktype = 'relation' AND l.relation = c.oid AND l.granted
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
       LEFT JOIN pg_stat_activity a ON a.pid = l.pid
      WHERE l.mode NOT IN ('AccessShareLock', 'RowShareLock') AND l.pid IS DISTINCT FROM pg_backend_pid()`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  return rows.map(({ pid, who, seconds, schema, table }) => ({
    pid,
    who,
    seconds,
    table: formatTable({ schema, table }),
  }));
}

/** A superuser's session is no other role's to end: that one is named when the attempt is over. */
async function endHolders(client: pg.ClientBase, tables: readonly TableName[]): Promise<void> {
  for (const { pid } of await readHolders(client, tables)) {
    if (pid === null) continue;
    try {
      await client.query('SELECT pg_terminate_backend($1)', [pid]);
    } catch (error) {
      if (sqlStateOf(error) !== '42501') throw error;
    }
  }
}

async function blockedBy(client: pg.ClientBase, tables: readonly TableName[], cause: unknown): Promise<RestageError> {
  const holders = await readHolders(client, tables).catch(() => []);
  const named = holders
    .slice(0, 5)
    .map(
      ({ pid, who, seconds, table }) =>
        `${table}: ${pid === null ? who : `session ${pid}, ${who}, in a transaction${seconds === null ? '' : ` for ${seconds.toFixed(1)} s`}`}`,
    );
  return new RestageError(
    'fence_blocked',
    'the fence cannot be closed: a transaction that wrote to a table does not end',
    {
      where: named.length === 0 ? 'whoever it was has ended since' : named.join('; '),
      fix: 'end it (commit, roll back, COMMIT PREPARED, pg_terminate_backend), or give --terminate',
      cause,
    },
  );
}
