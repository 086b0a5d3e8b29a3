import { cellText, type Cell, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import { findRow, type CompiledLookUp, type UsedLookUp } from '#core/rules/look-up.ts';
import type { OutputColumn } from '#core/rules/output-column.ts';
import { imageOfColumns, keyText, setCell } from '#core/rules/rows.ts';
import type { RowCopier } from '#core/rules/row-copier.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { RowSource } from '#core/rules/row-source.ts';
import type { Where } from '#core/rules/where.ts';
import type { Mask } from '#core/rules/values/mask-types.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';

/** A row that a branch gives. `key` is its identity as text; null for a table without identity. */
export interface ShapedRow {
  readonly key: string | null;
  /** Columns that are made from values which the source's row lacks are absent. */
  readonly row: Row;
}

/** What one rule makes of a table's rows: a function of the row (and of looked up ones) that knows nothing of events. */
export interface Branch {
  readonly shaped: TableStructure;
  readonly version: number;
  /** null: no rule names the table. */
  readonly rule: RuleConfig | null;
  /** For people: which rule. */
  readonly name: string;
  /** Key and value pass byte for byte. */
  readonly isUnchanged: boolean;
  /** Where values are only copied: most events need not be taken apart then. Else null. */
  readonly copier: RowCopier | null;
  /** Columns of the source on which it depends how many rows there are, and which keys they have. */
  readonly deciding: readonly string[];
  /** The other columns of the source that are read together with more, so that one alone cannot be left out. */
  readonly joint: readonly string[];
  /** Columns that have one value, never NULL, in every row: PostgreSQL's text. */
  readonly constants: ReadonlyMap<string, string>;
  /** Columns at the target that depend on when a row's transaction was committed, so that the row alone does not tell them. */
  readonly timed: readonly string[];
  /** Of the source's columns, where the rule masks them. */
  readonly masks: ReadonlyMap<string, Mask>;
  /** Those that it makes something of. */
  readonly lookUps: readonly UsedLookUp[];
  /** Columns of the source that are kept in the rules' state, the identity's among them; null where it needs none. */
  readonly remembers: readonly string[] | null;
  /** For each look-up the other rows' keys that a row of the source asks for; `row` may be what is remembered of it. */
  keysOf(row: Row, place: string): ReadonlyMap<UsedLookUp, readonly string[]>;
  /** A column's name behind the rule; null where it is dropped, or a value of another type takes its place. */
  nameOf(column: string): string | null;
  /** The columns at the target that are made from these of the source alone. */
  madeFrom(columns: readonly string[]): string[];
  /** @throws RestageError rule_failed, also where the row lacks a deciding column, or `event` cannot look up rows. */
  rows(row: Row, event: EventPlace): ShapedRow[];
}

export interface BranchParts {
  readonly shaped: TableStructure;
  readonly isUnchanged: boolean;
  readonly copier: RowCopier | null;
  readonly source: RowSource;
  readonly lookUps?: readonly CompiledLookUp[];
  /** Columns of the source that name its row. */
  readonly identity: readonly string[];
  /** All that it reads is remembered, also what is only copied. */
  readonly remembersAll?: boolean;
  readonly where: Where | null;
  readonly outputs: readonly OutputColumn[];
  readonly rule: RuleConfig | null;
  readonly masks: ReadonlyMap<string, Mask>;
  /** For messages: which rule. */
  readonly name: string;
}

export function makeBranch(parts: BranchParts): Branch {
  const { shaped, isUnchanged, source, outputs, masks, rule, name } = parts;
  const stored = outputs.filter(({ structure }) => !structure.generated);
  const lookUps = usedLookUps(parts.lookUps ?? [], parts.where, stored);
  const { own, remembers } = readColumns(parts, stored, lookUps);
  const joint = stored.filter(({ reads }) => reads.length > 1).flatMap(({ reads }) => reads);
  const copies = new Map(
    outputs.flatMap(({ structure, reads: [from], isCopy }) =>
      isCopy && from !== undefined ? [[from, structure.name] as const] : [],
    ),
  );
  return {
    shaped,
    version: structureVersion(shaped),
    rule,
    name,
    isUnchanged,
    copier: parts.copier,
    deciding: own,
    joint: source.ownColumns(joint).filter((column) => !own.includes(column)),
    constants: constantsOf(stored),
    masks,
    timed: stored.filter(({ readsTime }) => readsTime).map(({ structure }) => structure.name),
    nameOf: (column) => copies.get(column) ?? null,
    madeFrom: (columns) =>
      stored
        .filter(({ lookedUp }) => lookedUp.size === 0)
        .filter(({ reads }) => reads.length > 0 && source.ownColumns(reads).every((column) => columns.includes(column)))
        .map(({ structure }) => structure.name),
    lookUps,
    remembers,
    keysOf(row, place) {
      const rows = lookUps.length === 0 ? [] : source.rows(row, { place });
      const keysFor = ({ keyOf }: UsedLookUp): string[] => [...new Set(rows.map(keyOf).filter((key) => key !== null))];
      return new Map(lookUps.map((lookUp) => [lookUp, keysFor(lookUp)]));
    },
    rows: rowShaper(parts, stored, lookUps),
  };
}

/** Columns of the source: on which rows and their keys depend, and those that are kept in the rules' state. */
function readColumns(
  { shaped, source, where, identity, remembersAll = false }: BranchParts,
  stored: readonly OutputColumn[],
  lookUps: readonly UsedLookUp[],
): { readonly own: string[]; readonly remembers: string[] | null } {
  const isKey = ({ structure }: OutputColumn): boolean => shaped.identity.columns.includes(structure.name);
  const byOf = (names: ReadonlyMap<string, unknown>): string[] =>
    lookUps.filter(({ as }) => names.has(as)).flatMap(({ by }) => by);
  const own = source.ownColumns([
    ...(where?.columns ?? []),
    ...byOf(where?.reads ?? new Map()),
    ...source.deciding,
    ...stored.filter(isKey).flatMap(({ reads }) => reads),
  ]);
  const isDecidedElsewhere =
    (where?.reads.size ?? 0) > 0 || stored.some((output) => isKey(output) && output.lookedUp.size > 0);
  const isAll = remembersAll || isDecidedElsewhere;
  if (lookUps.length === 0 && !isAll) return { own, remembers: null };
  const remembered = stored.filter(({ lookedUp }) => isAll || lookedUp.size > 0).flatMap(({ reads }) => reads);
  const asked = lookUps.flatMap(({ by }) => by);
  return { own, remembers: source.ownColumns([...identity, ...own, ...asked, ...remembered]) };
}

function rowShaper(
  { shaped, source, where, name }: BranchParts,
  stored: readonly OutputColumn[],
  lookUps: readonly UsedLookUp[],
): Branch['rows'] {
  const keys = shaped.identity.columns;
  const names = stored.map(({ structure }) => structure.name);
  const fixed = stored.map((output) => (output.isConstant ? output.cell({}, { place: 'no row' }) : undefined));
  const found = (row: Row, event: EventPlace): EventPlace =>
    lookUps.length === 0
      ? event
      : { ...event, rows: new Map(lookUps.map((one) => [one.as, findRow(one, row, event)])) };
  const shape = (row: Row, event: EventPlace): ShapedRow => {
    const made: Record<string, Cell> = {};
    for (const [index, output] of stored.entries()) {
      const cell = fixed[index] ?? output.cell(row, event);
      if (cell !== undefined) setCell(made, names[index] ?? '', cell);
    }
    return { key: keys.length === 0 ? null : requireKey(made, shaped, event.place, name), row: made };
  };
  return (row, event) => {
    const shapedRows: ShapedRow[] = [];
    for (const one of source.rows(row, event)) {
      const at = found(one, event);
      if (where === null || where.passes(imageOfColumns(one, where.columns), at)) shapedRows.push(shape(one, at));
    }
    return shapedRows;
  };
}

/** With the columns that are read of each; one that nothing reads is none. */
function usedLookUps(
  lookUps: readonly CompiledLookUp[],
  where: Where | null,
  outputs: readonly OutputColumn[],
): UsedLookUp[] {
  const uses = [...(where === null ? [] : [where.reads]), ...outputs.map(({ lookedUp }) => lookedUp)];
  return lookUps.flatMap((lookUp) => {
    const own = uses.flatMap((use) => use.get(lookUp.as) ?? []);
    const isUsed = uses.some((use) => use.has(lookUp.as));
    return isUsed ? [{ ...lookUp, reads: [...new Set(own)] }] : [];
  });
}

function constantsOf(outputs: readonly OutputColumn[]): Map<string, string> {
  const constants = new Map<string, string>();
  for (const output of outputs) {
    const text = output.isConstant ? cellText(output.cell({}, { place: 'no row' }) ?? null) : null;
    if (text !== null) constants.set(output.structure.name, text);
  }
  return constants;
}

/** Where the row has no value for it there is no row that it could be (PostgreSQL: "Primary Keys"). */
function requireKey(row: Row, shaped: TableStructure, place: string, rule: string): string {
  const columns = shaped.identity.columns;
  const missing = columns.filter((column) => (row[column] ?? null) === null);
  const key = missing.length === 0 ? keyText(row, columns) : null;
  if (key !== null) return key;
  throw new RestageError(
    'rule_failed',
    `a row of ${formatTable(shaped)} has no value for its key: ${missing.join(', ')}`,
    {
      where: `${place}; ${rule}`,
      fix: 'leave such rows out with where; where the source does not send the value, set REPLICA IDENTITY FULL for its table',
    },
  );
}
