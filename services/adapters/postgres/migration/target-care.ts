import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { orderViews, type ViewUse } from '#core/migration/view-order.ts';
import { formatTable, quoteTable, type TableName } from '#core/table-name.ts';

interface Materialized extends TableName {
  readonly oid: string;
  readonly mayRefresh: boolean;
}

const USES = `SELECT DISTINCT w.ev_class::text AS view, d.refobjid::text AS used
   FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class ORDER BY 1, 2`;
/** MAINTAIN came with version 17, and older servers do not know the word. */
const MATERIALIZED = `SELECT c.oid::text AS oid, n.nspname AS schema, c.relname AS table,
       pg_has_role(c.relowner, 'usage') OR (current_setting('server_version_num')::int >= 170000 AND EXISTS (
         SELECT FROM aclexplode(c.relacl) a WHERE a.privilege_type = 'MAINTAIN' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'usage')))) AS "mayRefresh"
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm' AND c.relispopulated`;

/** Those that have rows and come from the tables, each after those that it is made of. */
async function readMaterialized(client: pg.ClientBase, tables: readonly TableName[]): Promise<Materialized[]> {
  const { rows: all } = await client.query<Materialized>(MATERIALIZED);
  if (all.length === 0) return [];
  const { rows: uses } = await client.query<ViewUse>(USES);
  const moved = await client.query<{ oid: string }>(
    `WITH RECURSIVE chosen AS (SELECT c.oid FROM unnest($1::text[], $2::text[]) AS t(schema, name)
         JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name),
       up AS (SELECT oid FROM chosen UNION SELECT i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.oid)
     SELECT oid::text AS oid FROM up`,
    namesOf(tables),
  );
  const byOid = new Map(all.map((one) => [one.oid, one]));
  const ordered = orderViews(uses, new Set(moved.rows.map(({ oid }) => oid)));
  return ordered.flatMap((oid) => byOid.get(oid) ?? []);
}

/** Materialized views that come from the tables and that the role may not make anew. */
export async function findUnrefreshable(client: pg.ClientBase, tables: readonly TableName[]): Promise<TableName[]> {
  return (await readMaterialized(client, tables)).filter((view) => !view.mayRefresh);
}

/** Their number. @throws RestageError switch_refused where one cannot be made anew. */
export async function refreshViews(client: pg.ClientBase, tables: readonly TableName[]): Promise<number> {
  const views = await readMaterialized(client, tables);
  for (const view of views) {
    try {
      await client.query(`REFRESH MATERIALIZED VIEW ${quoteTable(view)}`);
    } catch (cause) {
      // A broken session says so itself.
      if (!(cause instanceof Error && 'severity' in cause)) throw cause;
      throw new RestageError('switch_refused', `a materialized view cannot be made anew: ${cause.message}`, {
        where: formatTable(view),
        fix: 'mend or drop it, or let its owner refresh it: GRANT the owner to the role',
        cause,
      });
    }
  }
  return views.length;
}

export interface AnalyzedTables {
  readonly analyzed: number;
  /** Their statistics are of now, or nearly. */
  readonly fresh: number;
  /** They are another role's. */
  readonly left: number;
}

/** A tenth of the rows changed since, or nobody ever looked (PostgreSQL: autovacuum_analyze_scale_factor, _threshold). */
const STALE = `coalesce(s.last_analyze, s.last_autoanalyze) IS NULL OR s.n_mod_since_analyze > 50 + 0.1 * greatest(c.reltuples, 0)`;

/** Statistics of the tables, and of what is made of them, where they are missing or old: plans of the first queries rest on them. */
export async function analyzeStale(client: pg.ClientBase, tables: readonly TableName[]): Promise<AnalyzedTables> {
  const all = [...tables, ...(await readMaterialized(client, tables))];
  const { rows } = await client.query<TableName & { stale: boolean; own: boolean }>(
    `SELECT t.schema, t.name AS table, ${STALE} AS stale, pg_has_role(c.relowner, 'usage') AS own
       FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid`,
    namesOf(all),
  );
  const stale = rows.filter((row) => row.stale);
  const due = stale.filter((row) => row.own);
  for (const table of due) await client.query(`ANALYZE ${quoteTable(table)}`);
  return { analyzed: due.length, fresh: rows.length - stale.length, left: stale.length - due.length };
}

function namesOf(tables: readonly TableName[]): [string[], string[]] {
  return [tables.map(({ schema }) => schema), tables.map(({ table }) => table)];
}
