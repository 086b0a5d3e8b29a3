import type pg from 'pg';
import { TYPE_COLUMNS, TYPE_JOINS, type ValueType } from '#adapters/postgres/value-type.ts';
import type { Config } from '#core/config.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { RestageError } from '#core/errors.ts';
import { compileTable } from '#core/rules/table-rules.ts';
import { compileWhere, type Where } from '#core/rules/where.ts';
import type { TableStructure } from '#core/structure.ts';
import { openMaskedSource, type MaskedSource } from './masked-source.ts';
import { formatTable, quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';

/** A table on one side, as SQL names its parts; every name comes from that side's catalog. */
export interface TableSide {
  readonly sql: string;
  readonly oid: string;
  /** The compared columns, quoted, in the same order on both sides. */
  readonly columns: readonly string[];
  readonly key: readonly (ValueType & { readonly sql: string })[];
}

/** A source table and what the rules make of it at the target. */
export interface TablePair {
  readonly table: TableName;
  readonly targetTable: TableName;
  readonly source: TableSide;
  readonly target: TableSide;
  /** By their names at the target, in the sides' order. */
  readonly columnNames: readonly string[];
  readonly keyNames: readonly string[];
  /** Source rows that pass are compared; null for all. */
  readonly filter: RowFilter | null;
  /** Where columns are masked at capture, source rows are masked before they are compared; else null. */
  readonly masked: MaskedSource | null;
}

export interface RowFilter {
  /** Quoted source columns that the expression reads, in the order that `passes` takes their texts. */
  readonly columns: readonly string[];
  readonly passes: (texts: readonly (string | null)[]) => boolean;
}

interface SideColumn extends ValueType {
  readonly generated: boolean;
}

const PLAIN_TEXT: ValueType = { cast: 'text', isCastOtherwise: false, equals: '=' };
const SIDE_SQL = `
  SELECT c.oid::text AS oid, c.relkind = 'p' AS partitioned, a.attname AS name, a.attgenerated <> '' AS generated, ${TYPE_COLUMNS},
         pg_catalog.format_type(a.atttypid, -1) AS "cast"
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN (pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid ${TYPE_JOINS})
           ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
   WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`;

/** Matches a table with what the rules make of it. @throws RestageError target_altered or rule_invalid. */
export async function pairTables(
  config: Config,
  { source, target }: { readonly source: pg.ClientBase; readonly target: pg.ClientBase },
  structure: TableStructure,
  rules: readonly RuleConfig[],
): Promise<TablePair> {
  const [branch] = compileTable(structure, rules, '').branches;
  const shaped = branch?.shaped ?? structure;
  const rule = rules.find(
    (candidate) => candidate.table.schema === structure.schema && candidate.table.table === structure.table,
  );
  const [from, to] = [await readSide(source, structure), await readSide(target, shaped)];
  if (from === null || to === null) {
    throw new RestageError('target_altered', `a table is missing in the ${from === null ? 'source' : 'target'}`, {
      where: formatTable(from === null ? structure : shaped),
      fix: 'let the initial load be done first: restage wait',
    });
  }
  // What is computed from a mask at the target is not what the source computes from the value.
  const isMasked = structure.columns.some(({ mask }) => mask !== undefined);
  const sourceName = sourceNames(structure, rule ?? null);
  const names = shaped.columns
    .filter((column) => !column.generated || (!isMasked && to.columns.get(column.name)?.generated === true))
    .map(({ name }) => name);
  const missing = names.filter((name) => !to.columns.has(name));
  if (missing.length > 0) {
    throw new RestageError('target_altered', 'a table in the target lacks columns that the source has', {
      where: `${formatTable(shaped)}: ${missing.join(', ')}`,
      fix: "add the columns to the target's table",
    });
  }
  const keyNames = shaped.identity.columns;
  const side = (sql: string, found: FoundSide, nameOf: (name: string) => string): TableSide => ({
    sql,
    oid: found.oid,
    columns: names.map((name) => quoteIdentifier(nameOf(name))),
    key: keyNames.map((name) => ({
      sql: quoteIdentifier(nameOf(name)),
      ...(found.columns.get(nameOf(name)) ?? PLAIN_TEXT),
    })),
  });
  const nameAtSource = (name: string): string => sourceName.get(name) ?? name;
  const where = rule?.where === undefined || rule.where === null ? null : compileWhere(rule.where, structure);
  const filter = where === null ? null : makeFilter(where);
  return {
    table: { schema: structure.schema, table: structure.table },
    targetTable: { schema: shaped.schema, table: shaped.table },
    source: side(fromClause(structure, from), from, nameAtSource),
    target: side(fromClause(shaped, to), to, (name) => name),
    columnNames: names,
    keyNames,
    filter,
    masked: openMaskedSource(
      config,
      structure,
      { columns: names.map(nameAtSource), key: keyNames.map(nameAtSource), read: where?.columns ?? [] },
      filter,
    ),
  };
}

interface FoundSide {
  readonly oid: string;
  readonly isPartitioned: boolean;
  readonly columns: ReadonlyMap<string, SideColumn>;
}

async function readSide(client: pg.ClientBase, name: TableName): Promise<FoundSide | null> {
  const { rows } = await client.query<{
    oid: string;
    partitioned: boolean;
    name: string | null;
    generated: boolean;
    cast: string;
    cast_otherwise: boolean;
    equals: string;
  }>(SIDE_SQL, [name.schema, name.table]);
  const [first] = rows;
  if (first === undefined) return null;
  return {
    oid: first.oid,
    isPartitioned: first.partitioned,
    columns: new Map(
      rows.flatMap((row) =>
        row.name === null
          ? []
          : [
              [
                row.name,
                { cast: row.cast, generated: row.generated, isCastOtherwise: row.cast_otherwise, equals: row.equals },
              ],
            ],
      ),
    ),
  };
}

/** A parent's rows are its own; only a partitioned table shows its children's. */
function fromClause(name: TableName, side: FoundSide): string {
  return `${side.isPartitioned ? '' : 'ONLY '}${quoteTable(name)}`;
}

/** Target name to source name. */
function sourceNames(structure: TableStructure, rule: RuleConfig | null): Map<string, string> {
  return new Map(structure.columns.map(({ name }) => [rule?.renameColumns.get(name) ?? name, name]));
}

function makeFilter(where: Where): RowFilter {
  return {
    columns: where.columns.map(quoteIdentifier),
    passes: (texts) => where.passes(new Map(where.columns.map((name, index) => [name, texts[index] ?? null]))),
  };
}
