import type pg from 'pg';

/** Prefix of the logical message that the trigger writes; its content is the table's OID. */
export const REWRITE_PREFIX = 'restage.rewritten';
export const REWRITE_TRIGGER_NAME = 'restage_rewritten';

/**
 * An event trigger that tells when a statement rewrites a table's rows, which nothing else in the stream does (PostgreSQL: "Event
 * Triggers", table_rewrite: ALTER TABLE and ALTER TYPE, not VACUUM FULL or CLUSTER). A superuser's to make, or the provider's role for it.
 */
export const REWRITE_TRIGGER_SQL = `CREATE FUNCTION public.${REWRITE_TRIGGER_NAME}() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_logical_emit_message(true, '${REWRITE_PREFIX}', pg_catalog.pg_event_trigger_table_rewrite_oid()::pg_catalog.int8::pg_catalog.text); END $$; CREATE EVENT TRIGGER ${REWRITE_TRIGGER_NAME} ON table_rewrite EXECUTE FUNCTION public.${REWRITE_TRIGGER_NAME}();`;

export async function hasRewriteTrigger(client: pg.ClientBase): Promise<boolean> {
  const found = await client.query(
    `SELECT FROM pg_event_trigger WHERE evtname = $1 AND evtevent = 'table_rewrite' AND evtenabled IN ('O', 'A')`,
    [REWRITE_TRIGGER_NAME],
  );
  return found.rowCount === 1;
}
