import type pg from 'pg';
import type { Config, PartitionView } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import { CapturePolicy } from '#core/rules/capture-policy.ts';
import type { RowIdentity, TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import { findUnmatched, globOf, isChosen, plainName } from '#core/table-patterns.ts';
import { tableTopic } from '#core/topic-names.ts';
import { makeColumn, TYPE_COLUMNS, TYPE_JOINS, typeOf, type ColumnFacts, type TypeRow } from './column-types.ts';

interface ColumnRow extends TypeRow {
  readonly schema: string;
  readonly table: string;
  readonly oid: string;
  readonly replident: 'd' | 'n' | 'f' | 'i';
  readonly name: string;
  readonly not_null: boolean;
  readonly generated: string;
  readonly expression: string | null;
  readonly identity: string;
  readonly collation_schema: string | null;
  readonly collation: string | null;
}

interface IndexRow {
  readonly oid: string;
  readonly is_primary: boolean;
  readonly is_identity: boolean;
  readonly is_immediate: boolean;
  readonly columns: string[];
}

/** Which relations a reader of the catalog takes for tables. `all`: partitioned tables beside their partitions, as at a target. */
export type TableView = PartitionView | 'all';

/** By `$1`, a TableView. */
const IS_TABLE = `CASE $1 WHEN 'leaves' THEN c.relkind = 'r' WHEN 'roots' THEN c.relkind IN ('r', 'p') AND NOT c.relispartition
                          ELSE c.relkind IN ('r', 'p') END`;

/** Every ordinary table of users, or one of them; views, foreign and unlogged tables have no WAL. */
const columnsSql = (which: string): string => `
  SELECT n.nspname AS schema, c.relname AS table, c.oid::text AS oid, c.relreplident::text AS replident,
         a.attname AS name, ${TYPE_COLUMNS},
         a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint nn WHERE nn.conrelid = c.oid AND nn.contype = 'n'
                                         AND nn.conkey = ARRAY[a.attnum] AND NOT nn.convalidated) AS not_null,
         CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS expression,
         a.attgenerated::text AS generated, a.attidentity::text AS identity, ln.nspname AS collation_schema, l.collname AS collation
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ${TYPE_JOINS}
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation AND l.oid <> t.typcollation
    LEFT JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace
   WHERE ${IS_TABLE} AND c.relpersistence = 'p'
     AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'restage') AND n.nspname !~ '^pg_(toast|temp)'
     AND ${which}
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
   ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", a.attnum`;

const indexesSql = (which: string): string => `
  SELECT i.indrelid::text AS oid, i.indisprimary AS is_primary, i.indisreplident AS is_identity, i.indimmediate AS is_immediate,
         (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.n)
            FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k(attnum, n)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
           WHERE k.n <= i.indnkeyatts) AS columns
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
   WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND ${IS_TABLE} AND ${which}`;

const OF_ALL = { columns: { text: columnsSql('true') }, indexes: { text: indexesSql('true') } };
/** Named, so that a session plans them once: that takes longer than to run them, and a start may ask for thousands of tables. */
const OF_ONE = {
  columns: { name: 'restage_table_columns', text: columnsSql('c.oid = $2') },
  indexes: { name: 'restage_table_indexes', text: indexesSql('c.oid = $2') },
};

/** The structure of every user table, by name; `prefix` makes their topics. */
export async function readTables(
  client: pg.ClientBase,
  prefix: string,
  { partitions = 'leaves' }: { readonly partitions?: TableView } = {},
): Promise<TableStructure[]> {
  const columns = await client.query<ColumnRow>({ ...OF_ALL.columns, values: [partitions] });
  const indexes = await client.query<IndexRow>({ ...OF_ALL.indexes, values: [partitions] });
  return makeStructures(columns.rows, indexes.rows, prefix);
}

/** The same of the one with this OID, in a list of its own; an empty one where it is gone. For a pipelined session. */
export async function readTable(client: pg.ClientBase, prefix: string, oid: number): Promise<TableStructure[]> {
  const values = ['all' satisfies TableView, oid];
  const [columns, indexes] = await Promise.all([
    client.query<ColumnRow>({ ...OF_ONE.columns, values }),
    client.query<IndexRow>({ ...OF_ONE.indexes, values }),
  ]);
  return makeStructures(columns.rows, indexes.rows, prefix);
}

function makeStructures(
  columns: readonly ColumnRow[],
  indexRows: readonly IndexRow[],
  prefix: string,
): TableStructure[] {
  const indexes = groupByOid(indexRows);
  return [...groupByOid(columns).values()].flatMap((rows) => {
    const [first] = rows;
    return first === undefined ? [] : [makeStructure(first, rows, indexes.get(first.oid) ?? [], prefix)];
  });
}

/** The tables that a pipeline captures, as it captures them. @throws RestageError table_not_found; rule_invalid of source.columns. */
export async function readChosenTables(
  client: pg.ClientBase,
  config: Pick<Config, 'name' | 'source' | 'maskKeys'>,
): Promise<TableStructure[]> {
  const { name, source } = config;
  const chosen = selectTables(await readTables(client, name, { partitions: source.partitions }), source.tables);
  const policy = new CapturePolicy(config);
  policy.requireKnown(chosen);
  return chosen.map((table) => policy.shape(table));
}

/**
 * The tables that the patterns choose: globs over `schema.table`, `!` excludes, the last match wins.
 * @throws RestageError table_not_found when a pattern matches nothing, or when nothing is left. Only an exclusion with `*` or `?`
 * may match nothing: one that names its table is misspelt then, and the table would be copied.
 */
export function selectTables(all: readonly TableStructure[], patterns: readonly string[]): TableStructure[] {
  if (patterns.length === 0) return [...all];
  const [unmatched] = findUnmatched(patterns, all);
  if (unmatched !== undefined) throw noMatch(unmatched, globOf(unmatched), all);
  const tables = all.filter((table) => isChosen(table, patterns));
  if (tables.length === 0) {
    throw new RestageError('table_not_found', 'source.tables chooses no table', {
      where: `patterns ${patterns.map((pattern) => JSON.stringify(pattern)).join(', ')}, ${all.length} tables in the source`,
      fix: 'widen the patterns in source.tables',
    });
  }
  return tables;
}

function groupByOid<T extends { readonly oid: string }>(rows: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const row of rows) {
    const group = groups.get(row.oid);
    if (group === undefined) groups.set(row.oid, [row]);
    else group.push(row);
  }
  return groups;
}

function noMatch(pattern: string, glob: string, all: readonly TableStructure[]): RestageError {
  const close = nearest(glob, all.map(plainName));
  const known = `${all.slice(0, 8).map(formatTable).join(', ')}${all.length > 8 ? ', …' : ''}`;
  return new RestageError('table_not_found', `source.tables: no table matches ${JSON.stringify(pattern)}`, {
    where: `tables of the source: ${known === '' ? 'none' : known}`,
    fix: `correct the pattern${close === null ? '' : `, did you mean ${close}?`}; it is matched against schema.table, with * and ?`,
  });
}

function makeStructure(
  head: ColumnRow,
  rows: readonly ColumnRow[],
  indexes: readonly IndexRow[],
  prefix: string,
): TableStructure {
  const name = { schema: head.schema, table: head.table };
  const primary = indexes.find((index) => index.is_primary);
  const primaryKey = primary?.columns ?? [];
  const deferrable = indexes.filter((index) => !index.is_immediate).map((index) => index.columns);
  const generated = new Set(rows.filter((row) => row.generated !== '').map((row) => row.name));
  // Neither names a row: a key that may repeat inside a transaction, nor one that events do not carry.
  const usable = indexes.filter(
    (index) => index.is_immediate && !index.columns.some((column) => generated.has(column)),
  );
  return {
    ...name,
    topic: tableTopic(prefix, name),
    // A table without columns comes as one row of nulls from the outer join.
    columns: rows.filter((row) => row.name !== null).map((row) => makeColumn(row.name, typeOf(row), factsOf(row))),
    identity: makeIdentity(
      // The server refuses UPDATE and DELETE there (PostgreSQL 18: "Generated Column Replication").
      head.replident === 'f' && rows.some((row) => row.generated === 'v') ? 'n' : head.replident,
      usable.find((index) => index.is_primary)?.columns ?? [],
      usable,
    ),
    primaryKey,
    uniques: indexes.filter((index) => !index.is_primary).map((index) => index.columns),
    ...(deferrable.length === 0 ? {} : { deferrable }),
  };
}

function factsOf(row: ColumnRow): ColumnFacts {
  return {
    notNull: row.not_null,
    generated: row.generated !== '',
    ...(row.expression === null
      ? {}
      : { generation: { kind: row.generated === 'v' ? 'virtual' : 'stored', expression: row.expression } }),
    identity: row.identity === 'a' ? 'always' : row.identity === 'd' ? 'byDefault' : '',
    ...(row.collation_schema === null || row.collation === null
      ? {}
      : { collation: { schema: row.collation_schema, name: row.collation } }),
  };
}

function makeIdentity(
  replident: ColumnRow['replident'],
  primaryKey: readonly string[],
  indexes: readonly IndexRow[],
): RowIdentity {
  switch (replident) {
    case 'f':
      return { kind: 'full', columns: primaryKey, isFull: true };
    case 'i': {
      const columns = indexes.find((index) => index.is_identity)?.columns ?? [];
      return { kind: columns.length === 0 ? 'nothing' : 'index', columns, isFull: false };
    }
    case 'n':
      return { kind: 'nothing', columns: [], isFull: false };
    case 'd':
      return { kind: primaryKey.length === 0 ? 'nothing' : 'primaryKey', columns: primaryKey, isFull: false };
  }
}
