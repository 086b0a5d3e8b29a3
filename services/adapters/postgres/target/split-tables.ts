import type pg from 'pg';
import type { TableStructure } from '#core/structure.ts';
import { isTextEqualType } from './text-equality.ts';

interface ColumnRow {
  /** In the list that was asked for. */
  readonly at: number;
  readonly name: string;
  readonly type: string;
  readonly kind: string;
  readonly built_in: boolean;
  readonly deterministic: boolean;
}

/** Tables by their number in the list, with what their partitions have too. */
const TABLES = `
  WITH wanted AS (
    SELECT wanted.at::int - 1 AS at, c.oid FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted(s, t, at)
      JOIN pg_namespace n ON n.nspname = wanted.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.t AND c.relkind IN ('r', 'p')),
  parts AS (SELECT at, oid FROM wanted UNION SELECT w.at, p.relid FROM wanted w CROSS JOIN LATERAL pg_partition_tree(w.oid) p)`;

const COLUMNS = `${TABLES}
  SELECT w.at, a.attname AS name, t.typname AS type, t.typtype::text AS kind, t.typnamespace = 'pg_catalog'::regnamespace AS built_in,
         coalesce(l.collisdeterministic, true) AS deterministic
    FROM wanted w JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation l ON l.oid = a.attcollation
   WHERE a.attname = ANY ($3::text[])`;

/**
 * What makes one row wait for another: a trigger that fires on what is applied, and a unique or exclusion constraint, unless the columns of
 * the identity are all in it, so that rows of two identities never meet there. `NULL`: an expression is in the index.
 */
const BINDING = `${TABLES}
  SELECT p.at, '{}'::text[] AS columns FROM parts p JOIN pg_trigger g ON g.tgrelid = p.oid AND g.tgenabled IN ('R', 'A') AND NOT g.tgisinternal
  UNION ALL
  SELECT p.at, CASE WHEN i.indisexclusion THEN '{}'::text[] ELSE ARRAY(
           SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, n)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE k.n <= i.indnkeyatts) END
    FROM parts p JOIN pg_index i ON i.indrelid = p.oid AND (i.indisunique OR i.indisexclusion)`;

/**
 * Topics of tables whose rows may be applied by several sessions at once, each with the rows of its keys in order: the key's equality is
 * that of its text, so that equal keys are in one partition, and nothing at the target binds one row to another.
 */
export async function readSplitTopics(client: pg.ClientBase, structures: readonly TableStructure[]): Promise<string[]> {
  const keyed = structures.filter(({ identity }) => identity.columns.length > 0);
  const names = [keyed.map(({ schema }) => schema), keyed.map(({ table }) => table)];
  const keys = [...new Set(keyed.flatMap(({ identity }) => identity.columns))];
  const columns = (await client.query<ColumnRow>(COLUMNS, [...names, keys])).rows;
  const binding = (await client.query<{ at: number; columns: string[] }>(BINDING, names)).rows;
  const equal = new Set(columns.filter(isTextEqualType).map(({ at, name }) => `${at} ${name}`));
  const bound = new Set(
    binding
      .filter((one) => keyed[one.at]?.identity.columns.every((name) => one.columns.includes(name)) !== true)
      .map(({ at }) => at),
  );
  return keyed
    .filter(({ identity }, at) => !bound.has(at) && identity.columns.every((name) => equal.has(`${at} ${name}`)))
    .map(({ topic }) => topic);
}
