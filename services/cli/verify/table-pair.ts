import type pg from 'pg';
import type { Config } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { Branch } from '#core/rules/branch.ts';
import { isRowForRow } from '#core/rules/compile-branch.ts';
import { compileWhere, type Where } from '#core/rules/where.ts';
import type { TableStructure } from '#core/structure.ts';
import { openMaskedSource, type MaskedSource } from './masked-source.ts';
import { formatTable, quoteIdentifier, type TableName } from '#core/table-name.ts';
import { findTable, sideOf, type FoundTable, type TableSide } from './table-side.ts';

/** A source table and what a rule that only renames, drops and filters makes of it at the target: SQL compares both sides. */
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

/** Whether each row at the target is one of the source's, under the same identity, with values of it alone. */
export function isPlain(branch: Branch, structure: TableStructure): boolean {
  const { rule, shaped } = branch;
  if (rule === null) return true;
  if (!isRowForRow(rule) || branch.masks.size > 0 || branch.lookUps.length > 0) return false;
  const copied = new Set(structure.columns.map(({ name }) => branch.nameOf(name)));
  return shaped.columns.every(({ name }) => copied.has(name));
}

/** Matches a table with what a plain branch makes of it. @throws RestageError target_altered or rule_invalid. */
export async function pairTables(
  config: Config,
  { source, target }: { readonly source: pg.ClientBase; readonly target: pg.ClientBase },
  structure: TableStructure,
  branch: Branch,
): Promise<TablePair> {
  const { shaped, rule } = branch;
  const [from, to] = [await requireTable(source, structure, 'source'), await requireTable(target, shaped, 'target')];
  // What is computed from a mask at the target is not what the source computes from the value.
  const isMasked = structure.columns.some(({ mask }) => mask !== undefined);
  const sourceName = new Map(structure.columns.map(({ name }) => [branch.nameOf(name), name]));
  const names = shaped.columns
    .filter((column) => !column.generated || (!isMasked && to.columns.get(column.name)?.generated === true))
    .map(({ name }) => name);
  requireColumns(to, names, shaped);
  const keyNames = shaped.identity.columns;
  const inSource = (name: string): string => sourceName.get(name) ?? name;
  const where = rule === null || rule.where === null ? null : compileWhere(rule.where, structure);
  const filter = where === null ? null : makeFilter(where);
  return {
    table: { schema: structure.schema, table: structure.table },
    targetTable: { schema: shaped.schema, table: shaped.table },
    source: sideOf(from, names.map(inSource), keyNames.map(inSource)),
    target: sideOf(to, names, keyNames),
    columnNames: names,
    keyNames,
    filter,
    masked: openMaskedSource(
      config,
      structure,
      { columns: names.map(inSource), key: keyNames.map(inSource), read: where?.columns ?? [] },
      filter,
    ),
  };
}

/** @throws RestageError target_altered. */
export async function requireTable(
  client: pg.ClientBase,
  name: TableName,
  side: 'source' | 'target',
): Promise<FoundTable> {
  const found = await findTable(client, name);
  if (found !== null) return found;
  throw new RestageError('target_altered', `a table is missing in the ${side}`, {
    where: formatTable(name),
    fix: 'let the initial load be done first: restage wait',
  });
}

/** @throws RestageError target_altered. */
export function requireColumns(found: FoundTable, names: readonly string[], shaped: TableName): void {
  const missing = names.filter((name) => !found.columns.has(name));
  if (missing.length === 0) return;
  throw new RestageError('target_altered', 'a table in the target lacks columns that the source has', {
    where: `${formatTable(shaped)}: ${missing.join(', ')}`,
    fix: "add the columns to the target's table",
  });
}

function makeFilter(where: Where): RowFilter {
  return {
    columns: where.columns.map(quoteIdentifier),
    passes: (texts) => where.passes(new Map(where.columns.map((name, index) => [name, texts[index] ?? null]))),
  };
}
