import type { RuleConfig } from '#core/rules/rule-config.ts';
import { findMisfits } from '#core/structure-fit.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';

/** Something that a database has besides rows. */
export interface SchemaObject {
  readonly kind: string;
  /** Qualified; of a constraint or an index, whose name does not matter, what it is. */
  readonly name: string;
  readonly definition: string;
  /** What it belongs to; null for objects of a schema. */
  readonly table: TableName | null;
}

export interface SchemaDifference {
  readonly kind: string;
  /** As the target has it, or would. */
  readonly name: string;
  readonly is: 'missing' | 'extra' | 'different';
  /** How each side defines it, where that is short. */
  readonly source: string | null;
  readonly target: string | null;
}

export interface SchemaDiff {
  readonly differences: readonly SchemaDifference[];
  /** Tables that rules compute: of them only the columns are compared. */
  readonly columnsOnly: readonly string[];
}

export interface DiffInput {
  readonly source: readonly SchemaObject[];
  readonly target: readonly SchemaObject[];
  /** The chosen tables of the source, the tables that the rules make of them, and those that the target has. */
  readonly tables: readonly TableStructure[];
  readonly shaped: readonly TableStructure[];
  readonly found: readonly TableStructure[];
  readonly rules: readonly RuleConfig[];
}

/** What the target lacks, has besides, or has otherwise than the source, through the rules' new names. Tables that are not chosen do not count. */
export function diffSchemas(input: DiffInput): SchemaDiff {
  const renames = new Renames(input.tables, input.rules);
  const wanted = new Map(input.source.flatMap((object) => renames.translate(object)).map((one) => [idOf(one), one]));
  const isOurs = new Set(input.shaped.map(tableKey));
  const computed = new Set(input.shaped.filter((table) => !renames.isPlainTarget(table)).map(tableKey));
  const there = new Map(
    input.target
      .filter(({ table }) => table === null || (isOurs.has(tableKey(table)) && !computed.has(tableKey(table))))
      .map((one) => [idOf(one), one]),
  );
  const differences: SchemaDifference[] = [];
  for (const [id, object] of wanted) {
    const found = there.get(id);
    if (found === undefined) differences.push(describe(object, 'missing', object.definition, null));
    else if (found.definition !== object.definition)
      differences.push(describe(object, 'different', object.definition, found.definition));
  }
  for (const [id, object] of there)
    if (!wanted.has(id)) differences.push(describe(object, 'extra', null, object.definition));
  const columnsOnly = input.shaped.filter((table) => computed.has(tableKey(table)));
  return {
    differences: [...differences, ...columnsOnly.flatMap((table) => diffColumns(table, input.found))],
    columnsOnly: columnsOnly.map(formatTable),
  };
}

function idOf({ kind, name, table }: SchemaObject): string {
  return JSON.stringify([kind, table === null ? '' : tableKey(table), name]);
}

function describe(
  { kind, name, table }: SchemaObject,
  is: SchemaDifference['is'],
  source: string | null,
  target: string | null,
): SchemaDifference {
  // A sequence's name is whole without its owner's.
  const isWhole = table === null || kind === 'sequence';
  return { kind, name: isWhole ? name : `${formatTable(table)} ${name}`, is, source, target };
}

function diffColumns(wanted: TableStructure, found: readonly TableStructure[]): SchemaDifference[] {
  const there = found.find((table) => tableKey(table) === tableKey(wanted));
  const name = formatTable(wanted);
  if (there === undefined) return [{ kind: 'table', name, is: 'missing', source: null, target: null }];
  return findMisfits(wanted, there).map((problem) => ({
    kind: 'column',
    name: `${name}: ${problem}`,
    is: 'different',
    source: null,
    target: null,
  }));
}

/** New names of tables and columns, in definitions too. */
class Renames {
  readonly #rules = new Map<string, RuleConfig | null>();
  readonly #tables: [string, string][] = [];
  readonly #columns: [string, string][] = [];

  constructor(tables: readonly TableStructure[], rules: readonly RuleConfig[]) {
    for (const table of tables) {
      const own = rules.filter((rule) => tableKey(rule.table) === tableKey(table));
      const [rule = null] = own;
      if (own.length === 1 && rule?.rename != null) this.#tables.push([formatTable(table), formatTable(rule.rename)]);
      if (own.length > 1 || (rule !== null && !onlyRenames(rule))) continue;
      this.#rules.set(tableKey(table), rule);
      this.#columns.push(...(rule?.renameColumns ?? []));
    }
  }

  /** The object at the target; none where it belongs to a table that is not chosen, or whose rows are computed. */
  translate(object: SchemaObject): SchemaObject[] {
    const { kind, table } = object;
    if (table === null) return [object];
    const rule = this.#rules.get(tableKey(table));
    if (rule === undefined) return [];
    // Of a column's sequence the owner alone moves: it keeps its name.
    if (kind === 'sequence') return [{ ...object, table: rule?.rename ?? table }];
    // A foreign key names columns of another table too.
    const isKey = object.name.startsWith('FOREIGN KEY');
    const words = new Map(isKey ? this.#columns : (rule?.renameColumns ?? []));
    const text = (from: string): string => {
      const moved = this.#tables.reduce((all, [old, now]) => all.replaceAll(old, () => now), from);
      return moved.replaceAll(/\w+/g, (word) => words.get(word) ?? word);
    };
    return [{ kind, name: text(object.name), definition: text(object.definition), table: rule?.rename ?? table }];
  }

  isPlainTarget(table: TableName): boolean {
    const key = tableKey(table);
    for (const [source, rule] of this.#rules)
      if ((rule?.rename == null ? source : tableKey(rule.rename)) === key) return true;
    return false;
  }
}

/** `where` leaves rows out, and the structure alone. */
function onlyRenames(rule: RuleConfig): boolean {
  return (
    rule.dropColumns.length === 0 &&
    (rule.keepColumns ?? null) === null &&
    (rule.castColumns?.size ?? 0) === 0 &&
    (rule.setColumns?.length ?? 0) === 0 &&
    (rule.maskColumns?.specs.size ?? 0) === 0 &&
    (rule.key ?? null) === null &&
    (rule.unnest ?? null) === null &&
    (rule.outbox ?? null) === null
  );
}
