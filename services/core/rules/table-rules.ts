import { cellText, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import type { ModuleDeclaration } from '#core/module/declaration.ts';
import { isModuleSource, moduleBranches } from '#core/module/module-tables.ts';
import { compileOutbox, type Outbox } from '#core/outbox/outbox.ts';
import type { Branch } from '#core/rules/branch.ts';
import { compileBranch, type BranchContext } from '#core/rules/compile-branch.ts';
import type { EventPlace, ReadRow } from '#core/rules/event-place.ts';
import { eventsOf, type RowEvent, type RowPair } from '#core/rules/row-delta.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { atPlace } from '#core/rules/rule-place.ts';
import { cellOf, mergeRows, rowFrom } from '#core/rules/rows.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable, tableKey } from '#core/table-name.ts';
import { isChosen } from '#core/table-patterns.ts';

/** An event, and the branch that gave it. */
export interface ShapedEvent {
  readonly branch: Branch;
  readonly event: RowEvent;
}

/** What the rules' state has for an event of a table of which it remembers rows. */
export interface Remembered {
  /** The row's remembered columns before the event; null where there was none. */
  readonly row: Row | null;
  /** All tables' rows before the event. */
  readonly before: ReadRow;
}

/** What an output's rules make of one structure of a table. */
export interface TableRules {
  readonly source: TableStructure;
  readonly branches: readonly Branch[];
  /** The module gives the rows of the branches, and `apply` is not asked. */
  readonly isForModule: boolean;
  /** Its new rows are events on other topics, whatever the branches are. */
  readonly outbox: Outbox | null;
  /** A row of the source as people may see it: what a rule masks is masked (invariant 8). */
  conceal(row: Row): Row;
  /** `remembered` is null where the state has nothing of the table. @throws RestageError rule_failed when the event does not carry what a rule needs. */
  apply(event: RowEvent, at: EventPlace, remembered?: Remembered | null): ShapedEvent[];
}

export interface TableContext extends Omit<BranchContext, 'isMerged'> {
  /** Patterns of the tables that the output takes; undefined: all. */
  readonly tables: readonly string[] | undefined;
}

/** @throws RestageError rule_invalid naming rule, table and column. */
export function compileTable(
  structure: TableStructure,
  rules: readonly RuleConfig[],
  shapedPrefix: string,
  declaration: ModuleDeclaration | null = null,
  { captured = [], isWhole = false, tables }: Partial<TableContext> = {},
): TableRules {
  if (tables !== undefined && !isChosen(structure, tables)) return notTaken(structure);
  const own = rules.filter((rule) => tableKey(rule.table) === tableKey(structure));
  const [outbox = null] = own.flatMap((rule) =>
    rule.outbox == null ? [] : [compileOutbox(structure, rule.outbox, rule.place)],
  );
  if (declaration !== null && isModuleSource(declaration, structure))
    return {
      source: structure,
      branches: moduleBranches(declaration, structure, shapedPrefix),
      isForModule: true,
      outbox,
      conceal: (row) => row,
      apply: () => [],
    };
  const shaping = own.filter(isShaping);
  const branches = (own.length === 0 ? [null] : shaping).map((rule) =>
    compileBranch(structure, rule, shapedPrefix, {
      isMerged: rule !== null && isMerged(rule, rules.filter(isShaping)),
      captured,
      isWhole,
    }),
  );
  for (const branch of branches) requireOldValues(branch, structure);
  return {
    source: structure,
    branches,
    isForModule: false,
    outbox,
    conceal: (row) => concealWith(branches, row, structure),
    apply(event, at, remembered = null) {
      const pair = pairOf(event);
      const known = remembered === null ? pair : pairOf(event, remembered.row);
      const was = remembered === null ? at : { ...at, lookUp: remembered.before };
      return branches.flatMap((branch) => {
        const events = branch.remembers === null ? eventsOf(branch, pair, at) : eventsOf(branch, known, at, was);
        return events.map((one) => ({ branch, event: one }));
      });
    },
  };
}

/** Its rows come to no table of the output; others may look them up. */
function notTaken(source: TableStructure): TableRules {
  return { source, branches: [], isForModule: false, outbox: null, conceal: (row) => row, apply: () => [] };
}

function concealWith(branches: readonly Branch[], row: Row, { columns }: TableStructure): Row {
  const masks = new Map(branches.flatMap(({ masks: own }) => [...own]));
  if (masks.size === 0) return row;
  return rowFrom(
    Object.entries(row).map(([name, cell]) => {
      const mask = masks.get(name);
      const json = columns.find((column) => column.name === name)?.json ?? 'text';
      return [name, mask === undefined ? cell : cellOf(mask.apply(cellText(cell)), json)] as const;
    }),
  );
}

/** Whether a rule takes rows to a target. */
export function isShaping({ outbox }: RuleConfig): boolean {
  return outbox == null;
}

/** Whether another table's rows come to the same table. */
export function isMerged(rule: RuleConfig, rules: readonly RuleConfig[]): boolean {
  const target = tableKey(rule.rename ?? rule.table);
  return rules.some(
    (other) => tableKey(other.rename ?? other.table) === target && tableKey(other.table) !== tableKey(rule.table),
  );
}

/**
 * Without an old image the key is as it was, and only the key decides, but for what is remembered of the old row. A value that is not in the
 * new image did not change.
 */
export function pairOf({ op, key, before, after }: RowEvent, remembered: Row | null = null): RowPair {
  if (op === 'c' || op === 'r') return { op, old: null, now: after, unchanged: [] };
  const isUnmoved = op === 'u' && before === null && remembered === null;
  const sent: Row | null = before === null ? key : mergeRows(op === 'd' ? key : null, before);
  const old = remembered === null ? sent : mergeRows(remembered, sent);
  if (after === null) return { op, old, now: null, unchanged: [] };
  const now = mergeRows(mergeRows(remembered === null ? key : mergeRows(remembered, key), before), after);
  const unchanged = now === after ? [] : Object.keys(now).filter((name) => !Object.hasOwn(after, name));
  return { op, old, now, unchanged, isUnmoved };
}

/** Old and new image both decide, so the source must send the columns of both. */
function requireOldValues({ deciding, joint, shaped, remembers, rule }: Branch, structure: TableStructure): void {
  if (structure.identity.isFull) return;
  const isKnown = (column: string): boolean =>
    structure.identity.columns.includes(column) || remembers?.includes(column) === true;
  const missing = [
    ...deciding.filter((column) => !isKnown(column)),
    ...joint.filter((column) => !isKnown(column) && isToastable(structure, column)),
  ];
  if (missing.length === 0) return;
  throw new RestageError(
    'rule_invalid',
    `a rule needs old values that the source does not send: ${missing.join(', ')}`,
    {
      where: atPlace(rule?.place, `rule for ${formatTable(structure)}, which gives ${formatTable(shaped)}`),
      fix: `ALTER TABLE ${quoteTable(structure)} REPLICA IDENTITY FULL; -- or state: true in the rule, which keeps them in Kafka`,
    },
  );
}

/** Fixed-length types of PostgreSQL itself, whose values always come with an update. */
const NEVER_TOASTED: ReadonlySet<string> = new Set(
  'bool int2 int4 int8 float4 float8 date time timetz timestamp timestamptz interval uuid oid xid xid8 cid tid pg_lsn money macaddr macaddr8 point line lseg box circle name char'.split(
    ' ',
  ),
);

/** Whether an update may leave the column's value out (PostgreSQL: "TOAST"). Enums and domains over fixed types count as if it might. */
export function isToastable(structure: TableStructure, name: string): boolean {
  const column = structure.columns.find((one) => one.name === name);
  return column === undefined || column.typeSchema !== 'pg_catalog' || !NEVER_TOASTED.has(column.typeName);
}
