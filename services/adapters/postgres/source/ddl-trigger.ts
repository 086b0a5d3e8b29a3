import type pg from 'pg';
import { sqlStateOf } from '#core/error-policy.ts';
import { describeError } from '#core/errors.ts';
import { dropEmptySchema } from '../restage-schema.ts';
import { TOLD_STRUCTURE_SQL } from './told-structure.ts';

/**
 * Prefixes of the logical messages that the triggers write: a table's OID before a statement gives its rows other values, or fills columns that
 * it adds; a table as a statement left it.
 */
export const REWRITE_PREFIX = 'restage.rewritten';
export const FILL_PREFIX = 'restage.filled';
export const ALTERED_PREFIX = 'restage.altered';

const REWRITE_TRIGGER = 'restage_rewritten';
const ALTER_TRIGGER = 'restage_altered';
const TRIGGERS = [REWRITE_TRIGGER, ALTER_TRIGGER];
const FUNCTION = 'restage.tell_ddl';
/** Raise it with every change of the SQL below: a producer replaces what an older one made, and leaves what a newer one did. */
const VERSION = 2;
const VERSION_MARK = '-- Restage, version ';
/** Another persistence (1) or other values of a column (4). Another access method (8) leaves values alone. */
const REWRITE_REASONS = 1 | 4;
/** Columns that a statement adds: their values are not in the stream, but those of generated ones are computed anywhere. */
const FILL_REASON = 2;
const LOCK_TIMEOUT = '5s';

/**
 * The relations that an ALTER TABLE or ALTER TYPE touches: its own, the heirs and partitions below it, tables OF the type, tables with
 * columns of the type. Runs as its owner with a pinned search_path, and never in the way of the statement: what fails in it is left to be
 * seen in the stream's own announcement of the table's columns. PostgreSQL: "Event Triggers", "Event Trigger Functions".
 */
const FUNCTION_SQL = `CREATE FUNCTION ${FUNCTION}() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $restage$
${VERSION_MARK}${VERSION}
DECLARE told text;
BEGIN
  IF tg_event = 'table_rewrite' THEN
    IF pg_event_trigger_table_rewrite_reason() & ${REWRITE_REASONS | FILL_REASON} <> 0 THEN
      PERFORM pg_logical_emit_message(true,
        CASE pg_event_trigger_table_rewrite_reason() & ${REWRITE_REASONS} WHEN 0 THEN '${FILL_PREFIX}' ELSE '${REWRITE_PREFIX}' END,
        pg_event_trigger_table_rewrite_oid()::int8::text);
    END IF;
    RETURN;
  END IF;
  FOR told IN
    WITH RECURSIVE command AS MATERIALIZED (SELECT classid, objid FROM pg_event_trigger_ddl_commands()),
    touched(oid) AS (
      (SELECT objid FROM command WHERE classid = 'pg_class'::regclass
       UNION
       SELECT a.attrelid FROM command JOIN pg_type t ON objid IN (t.oid, t.typelem, t.typbasetype) JOIN pg_attribute a ON a.atttypid = t.oid
        WHERE classid = 'pg_type'::regclass AND a.attnum > 0 AND NOT a.attisdropped)
      UNION
      SELECT next.oid FROM touched CROSS JOIN LATERAL (
        SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = touched.oid
        UNION ALL SELECT o.oid FROM pg_type t JOIN pg_class o ON o.reloftype = t.oid WHERE t.typrelid = touched.oid) AS next(oid))
    SELECT (${TOLD_STRUCTURE_SQL})
      FROM touched JOIN pg_class c ON c.oid = touched.oid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'restage')
  LOOP
    PERFORM pg_logical_emit_message(true, '${ALTERED_PREFIX}', told);
  END LOOP;
EXCEPTION WHEN OTHERS THEN NULL;
END $restage$`;

/** What takes them away, the one that an older `check` printed too. */
const REMOVE_STATEMENTS = [
  ...TRIGGERS.map((name) => `DROP EVENT TRIGGER IF EXISTS ${name}`),
  `DROP FUNCTION IF EXISTS ${FUNCTION}()`,
  `DROP FUNCTION IF EXISTS public.${REWRITE_TRIGGER}()`,
];
/** Always: also in sessions with session_replication_role = replica. */
const MAKE_STATEMENTS = [
  'CREATE SCHEMA IF NOT EXISTS restage',
  // Made anew, never replaced: who owned a function of this name would own this one.
  ...REMOVE_STATEMENTS,
  FUNCTION_SQL,
  `REVOKE ALL ON FUNCTION ${FUNCTION}() FROM PUBLIC`,
  `CREATE EVENT TRIGGER ${REWRITE_TRIGGER} ON table_rewrite EXECUTE FUNCTION ${FUNCTION}()`,
  `CREATE EVENT TRIGGER ${ALTER_TRIGGER} ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'ALTER TYPE') EXECUTE FUNCTION ${FUNCTION}()`,
  ...TRIGGERS.map((name) => `ALTER EVENT TRIGGER ${name} ENABLE ALWAYS`),
];

/**
 * Event triggers that tell of statements in their place in the stream: which tables they rewrite, which leaves nothing there, and what
 * columns they leave, which else comes with the table's next change alone. A superuser's to make, or the provider's role for it.
 */
export const DDL_TRIGGER_SQL = `BEGIN; ${MAKE_STATEMENTS.join('; ')}; COMMIT;`;
export const DROP_DDL_TRIGGER_SQL = `BEGIN; ${REMOVE_STATEMENTS.join('; ')}; COMMIT;`;

/** `none`: not there, disabled, or of an older version. `foreign`: a trigger of this name calls a function of somebody else. */
export type DdlTriggerState = 'there' | 'none' | 'foreign';

export async function readDdlTrigger(client: pg.ClientBase): Promise<DdlTriggerState> {
  const { rows } = await client.query<{ source: string; is_on: boolean; is_own: boolean }>(
    `SELECT p.prosrc AS source, e.evtenabled IN ('O', 'A') AS is_on, p.proowner = e.evtowner AND p.prosecdef AS is_own
       FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid WHERE e.evtname = ANY ($1)`,
    [TRIGGERS],
  );
  if (rows.some(({ source }) => !source.includes(REWRITE_PREFIX))) return 'foreign';
  const isCurrent = (source: string): boolean =>
    Number(source.split(VERSION_MARK)[1]?.split('\n')[0] ?? '0') >= VERSION;
  const current = rows.filter(({ source, is_on: isOn, is_own: isOwn }) => isOn && isOwn && isCurrent(source));
  return current.length === TRIGGERS.length ? 'there' : 'none';
}

/**
 * Makes them where the role may. Pipelines over one database share them, and each start makes good what is missing or old. Returns whether
 * it made them, or why they are not there: nothing of that stops a producer.
 */
export async function ensureDdlTrigger(client: pg.Client): Promise<'there' | 'made' | { readonly refused: string }> {
  const state = await readDdlTrigger(client);
  if (state === 'there') return 'there';
  if (state === 'foreign')
    return { refused: `event triggers of the names ${TRIGGERS.join(' and ')} are of somebody else` };
  const [server] = (await client.query<{ is_standby: boolean }>('SELECT pg_is_in_recovery() AS is_standby')).rows;
  if (server?.is_standby === true) return { refused: 'the source is a stand-by, where nothing is made' };
  try {
    // One message is one transaction. Two pipelines that start together make them one after the other.
    await client.query([`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`, LOCK_SQL, ...MAKE_STATEMENTS].join('; '));
    return 'made';
  } catch (error) {
    if (sqlStateOf(error) === '' || sqlStateOf(error).startsWith('08') || sqlStateOf(error).startsWith('57'))
      throw error;
    return { refused: describeError(error) };
  }
}

const LOCK_SQL = `SELECT pg_advisory_xact_lock(hashtextextended('${FUNCTION}', 0))`;

/** PostgreSQL cuts application_name at 63 bytes. */
const OTHERS_SQL = `
  (SELECT count(*) FROM pg_replication_slots
    WHERE database = current_database() AND plugin = 'pgoutput' AND NOT temporary AND slot_name <> $1) +
  (SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name ~ '^restage [a-z][a-z0-9_-]* producer$' AND application_name <> $2)`;

export interface OwnTrigger {
  /** Slots of other pipelines or tools over this database, and other producers that run. */
  readonly others: number;
  readonly mayDrop: boolean;
}

/** What a teardown of the pipeline with this slot and this producer's sessions finds; null where there is nothing of ours. */
export async function findDdlTrigger(
  client: pg.ClientBase,
  slot: string,
  application: string,
): Promise<OwnTrigger | null> {
  const { rows } = await client.query<{ may_drop: boolean; others: string }>(
    `SELECT bool_and(pg_has_role(e.evtowner, 'usage')) AS may_drop, (${OTHERS_SQL})::text AS others
       FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
      WHERE e.evtname = ANY ($3) AND p.prosrc LIKE '%' || $4 || '%' HAVING count(*) > 0`,
    [slot, application, TRIGGERS, REWRITE_PREFIX],
  );
  const [row] = rows;
  return row === undefined ? null : { others: Number(row.others), mayDrop: row.may_drop };
}

/** The schema goes too where nothing else is in it. */
export async function dropDdlTrigger(client: pg.ClientBase): Promise<void> {
  await client.query([LOCK_SQL, ...REMOVE_STATEMENTS].join('; '));
  await dropEmptySchema(client);
}
