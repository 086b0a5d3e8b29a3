import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable } from '#core/table-name.ts';
import { isTextEqualType } from './text-equality.ts';
import { TYPE_COLUMNS, TYPE_JOINS, type ValueType } from '../value-type.ts';

export interface TargetColumn extends ValueType {
  readonly name: string;
  /** GENERATED ALWAYS AS IDENTITY: an UPDATE may not set it. */
  readonly isAlwaysIdentity: boolean;
}

/** A table as the target's own catalog has it; every name and cast in SQL comes from here. */
export interface TargetTable {
  readonly structure: TableStructure;
  /** For INSERT and COPY. */
  readonly sql: string;
  /** For all else: with ONLY unless partitioned, since what inherits from the table is not the table's. */
  readonly only: string;
  readonly isPartitioned: boolean;
  readonly columns: ReadonlyMap<string, TargetColumn>;
  readonly identity: readonly string[];
  /** Some column is GENERATED ALWAYS AS IDENTITY. */
  readonly hasAlwaysIdentity: boolean;
  /** Equal keys have equal text. */
  readonly isTextEqual: boolean;
  /** Has a key whose equality is its text's, and no trigger wants every step. */
  readonly isFoldable: boolean;
  /** A replica or always trigger fires on what the sink writes: it gets every change by itself, in order. */
  readonly isWatched: boolean;
}

const TEXT = `
  SELECT wanted.at::int - 1 AS at, a.attname AS name, a.attidentity = 'a' AS always, a.attgenerated <> '' AS generated,
         c.relkind = 'p' AS partitioned,
         ${TYPE_COLUMNS},
         t.typname AS type, t.typtype::text AS kind, t.typnamespace = 'pg_catalog'::regnamespace AS built_in, coalesce(l.collisdeterministic, true) AS deterministic,
         EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgenabled IN ('R', 'A') AND NOT g.tgisinternal) AS watched
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted(s, t, at)
    JOIN pg_namespace n ON n.nspname = wanted.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.t
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    ${TYPE_JOINS}
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
   WHERE c.relkind IN ('r', 'p')`;

/** Named, so that a session plans it once: it is asked for each table. */
const OF_ONE = { name: 'restage_target_table', text: TEXT };

const READ_AT_ONCE = 500;

interface CatalogRow {
  /** In the list that was asked for. */
  readonly at: number;
  readonly name: string;
  readonly cast: string;
  readonly always: boolean;
  readonly generated: boolean;
  readonly partitioned: boolean;
  readonly cast_otherwise: boolean;
  readonly equals: string;
  readonly type: string;
  readonly kind: string;
  readonly built_in: boolean;
  readonly deterministic: boolean;
  readonly watched: boolean;
}

/** Matches a captured structure with the target. @throws RestageError target_altered. */
export async function readTargetTable(client: pg.ClientBase, structure: TableStructure): Promise<TargetTable> {
  const { rows } = await client.query<CatalogRow>({ ...OF_ONE, values: [[structure.schema], [structure.table]] });
  return match(structure, rows);
}

/** The same for many, of which nothing is kept. @throws RestageError target_altered. */
export async function requireTargetTables(client: pg.ClientBase, structures: readonly TableStructure[]): Promise<void> {
  for (let from = 0; from < structures.length; from += READ_AT_ONCE) {
    const some = structures.slice(from, from + READ_AT_ONCE);
    const names = [some.map(({ schema }) => schema), some.map(({ table }) => table)];
    const byTable = some.map((): CatalogRow[] => []);
    for (const row of (await client.query<CatalogRow>(TEXT, names)).rows) byTable[row.at]?.push(row);
    for (const [index, structure] of some.entries()) match(structure, byTable[index] ?? []);
  }
}

/** @throws RestageError target_altered. */
function match(structure: TableStructure, rows: readonly CatalogRow[]): TargetTable {
  if (rows.length === 0 && structure.columns.length > 0) {
    throw new RestageError('target_altered', 'a table is missing in the target', {
      where: formatTable(structure),
      fix: 'set schema: copy or schema: create for this target, or make the table',
    });
  }
  const missing = structure.columns.filter(
    (column) => !column.generated && !rows.some((row) => row.name === column.name && !row.generated),
  );
  if (missing.length > 0) {
    throw new RestageError(
      'target_altered',
      'a table in the target lacks columns that the source has, or computes them itself',
      {
        where: `${formatTable(structure)}: ${missing.map((column) => column.name).join(', ')}`,
        fix: "add them to the target's table as plain columns",
      },
    );
  }
  const { identity } = structure;
  const isWatched = rows.some((row) => row.watched);
  const isTextEqual = identity.columns.every((name) => rows.some((row) => row.name === name && isTextEqualType(row)));
  const sql = quoteTable(structure);
  const isPartitioned = rows[0]?.partitioned === true;
  return {
    structure,
    sql,
    only: isPartitioned ? sql : `ONLY ${sql}`,
    isPartitioned,
    columns: new Map(
      rows
        .filter((row) => !row.generated)
        .map((row) => [
          row.name,
          {
            name: row.name,
            cast: row.cast,
            isCastOtherwise: row.cast_otherwise,
            equals: row.equals,
            isAlwaysIdentity: row.always,
          },
        ]),
    ),
    identity: identity.columns,
    hasAlwaysIdentity: rows.some((row) => row.always),
    isTextEqual,
    isFoldable: identity.columns.length > 0 && isTextEqual && !isWatched,
    isWatched,
  };
}
