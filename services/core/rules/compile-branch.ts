import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import { makeBranch, type Branch } from '#core/rules/branch.ts';
import { castColumn, computedColumn } from '#core/rules/computed-column.ts';
import { compileLookUps, type CompiledLookUp } from '#core/rules/look-up.ts';
import { copyColumn, maskedColumn, type OutputColumn } from '#core/rules/output-column.ts';
import { atPlace } from '#core/rules/rule-place.ts';
import { RowCopier } from '#core/rules/row-copier.ts';
import { makeRowSource, type RowSource } from '#core/rules/row-source.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { Mask } from '#core/rules/values/mask-types.ts';
import { compileMask } from '#core/rules/values/mask.ts';
import { compileWhere } from '#core/rules/where.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import { tableTopic } from '#core/topic-names.ts';

export interface BranchContext {
  readonly isMerged: boolean;
  /** The tables that may be looked up. */
  readonly captured: readonly TableStructure[];
  /** Whether updates must come with all columns, also those that did not change. */
  readonly isWhole: boolean;
}

/** One rule over one table; null passes it as it is. @throws RestageError rule_invalid naming rule, table and column. */
export function compileBranch(
  structure: TableStructure,
  rule: RuleConfig | null,
  shapedPrefix: string,
  { isMerged, captured, isWhole }: BranchContext,
): Branch {
  const name = rule?.rename ?? { schema: structure.schema, table: structure.table };
  const topic = tableTopic(shapedPrefix, name);
  const ruleName = `rule for ${formatTable(structure)}${rule?.rename == null ? '' : ` as ${formatTable(rule.rename)}`}`;
  const place = atPlace(rule?.place, ruleName);
  const source = makeRowSource(structure, rule, place);
  const identity = structure.identity.columns;
  if (rule === null) {
    const outputs = structure.columns.map((column) => copyColumn(column, column.name));
    const shaped = { ...structure, topic };
    const masks = new Map<string, Mask>();
    return makeBranch({
      shaped,
      isUnchanged: true,
      copier: null,
      source,
      identity,
      where: null,
      outputs,
      masks,
      rule,
      name: ruleName,
    });
  }
  const masks = compileMasks(structure, source, rule, place);
  const lookUps = compileLookUps(rule, source.columns, captured, place);
  const isStateful = lookUps.length > 0 || rule.state === true;
  if (isStateful) requireKey(structure, place);
  const outputs = inOrder(rule, makeOutputs(source, lookUps, rule, masks, place), place);
  const alone = { ...shapeStructure(structure, rule, outputs, place), ...name, topic };
  const named = isStateful ? withoutOldRows(alone) : alone;
  const shaped = isMerged ? withoutOwnRules(named) : named;
  const rows = new Map(lookUps.map(({ as, columns }) => [as, columns]));
  const where =
    rule.where === null ? null : compileWhere(rule.where, { ...structure, columns: source.columns }, rows, rule.place);
  const isCopied =
    !isStateful && where === null && masks.size === 0 && isRowForRow(rule) && outputs.every(({ isCopy }) => isCopy);
  const isSame = ({ structure: { name: to }, reads: [from] }: OutputColumn): boolean => to === from;
  const isUnchanged =
    isCopied && rule.orderColumns === undefined && outputs.length === structure.columns.length && outputs.every(isSame);
  const keepsKey = identity.every((key) => outputs.some((one) => isSame(one) && one.structure.name === key));
  const copier = isCopied && keepsKey && !shaped.identity.isFull ? copierOf(structure, outputs) : null;
  const remembersAll = rule.state === true || (lookUps.length > 0 && isWhole);
  const parts = { shaped, isUnchanged, copier, source, lookUps, identity, remembersAll, where, outputs, masks, rule };
  return makeBranch({ ...parts, name: ruleName });
}

function copierOf(source: TableStructure, outputs: readonly OutputColumn[]): RowCopier {
  const stored = outputs.filter(({ structure }) => !structure.generated);
  return new RowCopier(
    source,
    stored.map(({ structure: { name: to }, reads: [from = to] }) => ({ from, to })),
  );
}

/** The rules' state goes by the rows' keys. */
function requireKey({ identity, ...structure }: TableStructure, place: string): void {
  if (identity.columns.length > 0) return;
  const where = `${place}, which looks up rows or has state`;
  throw new RestageError('rule_invalid', `${formatTable(structure)} has no key by which its rows can be remembered`, {
    where,
    fix: 'give it a primary key',
  });
}

/** A change of a looked up row comes with the key of the row that it reaches, not with its old values. */
function withoutOldRows(structure: TableStructure): TableStructure {
  const { kind, columns } = structure.identity;
  return { ...structure, identity: { kind: kind === 'full' ? 'primaryKey' : kind, columns, isFull: false } };
}

/** What holds for one table's rows need not hold for those of several together. */
function withoutOwnRules(structure: TableStructure): TableStructure {
  const { identity } = structure;
  return {
    ...structure,
    columns: structure.columns
      .filter(({ generated }) => !generated)
      .map((column) => ({ ...column, notNull: identity.columns.includes(column.name), identity: '' as const })),
    primaryKey: identity.columns,
    identity: { kind: 'primaryKey', columns: identity.columns, isFull: false },
    uniques: [],
    deferrable: [],
  };
}

/** Whether a row of the source is one row of the target, with the same identity. */
export function isRowForRow(rule: RuleConfig): boolean {
  return rule.unnest == null && rule.key == null;
}

function makeOutputs(
  source: RowSource,
  lookUps: readonly CompiledLookUp[],
  rule: RuleConfig,
  masks: ReadonlyMap<string, Mask>,
  place: string,
): OutputColumn[] {
  const fail = failAt(place);
  const names = source.columns.map((column) => column.name);
  const casts = rule.castColumns ?? new Map<string, string>();
  const sets = rule.setColumns ?? [];
  const kept = rule.keepColumns ?? null;
  for (const column of [...rule.dropColumns, ...rule.renameColumns.keys(), ...casts.keys(), ...(kept ?? [])])
    if (!names.includes(column)) fail(`column ${column} is not in the table`, hint(column, names));
  for (const column of rule.dropColumns) {
    if (rule.renameColumns.has(column)) fail(`column ${column} is both renamed and dropped`);
    if (casts.has(column)) fail(`column ${column} is both cast and dropped`);
    if (kept?.includes(column) === true) fail(`column ${column} is both kept and dropped`);
  }
  const outputs: OutputColumn[] = [];
  for (const column of source.columns) {
    const isSet = sets.some((set) => set.column === column.name);
    if (isSet || rule.dropColumns.includes(column.name)) continue;
    if (kept !== null && !kept.includes(column.name)) continue;
    // Events carry no values of generated columns, and their expressions name columns of the source.
    if (column.generated && (kept !== null || !isRowForRow(rule))) continue;
    const to = rule.renameColumns.get(column.name) ?? column.name;
    const cast = casts.get(column.name);
    const mask = masks.get(column.name);
    if (cast === undefined) outputs.push(mask === undefined ? copyColumn(column, to) : maskedColumn(column, to, mask));
    else if (column.generated) fail(`column ${column.name} is generated: events do not carry it`);
    else outputs.push(castColumn(column, to, cast, place));
  }
  for (const set of sets) {
    if (casts.has(set.column)) fail(`column ${set.column} is both cast and set: give the type with set`);
    outputs.push(computedColumn(set, source.columns, lookUps, place));
  }
  return outputs;
}

/** @throws RestageError rule_invalid for a mask that does not fit its column, or that hides nothing. */
function compileMasks(
  structure: TableStructure,
  source: RowSource,
  rule: RuleConfig,
  place: string,
): ReadonlyMap<string, Mask> {
  const masks = new Map<string, Mask>();
  const fail = failAt(`${place}, columns.mask`);
  const names = source.columns.map(({ name }) => name);
  const keys = [structure.identity.columns, structure.primaryKey, ...structure.uniques];
  for (const [name, spec] of rule.maskColumns?.specs ?? []) {
    const column = source.columns.find((one) => one.name === name);
    if (column === undefined) return fail(`column ${name} is not in the table`, hint(name, names));
    if (rule.dropColumns.includes(name)) fail(`column ${name} is both masked and dropped`);
    if (rule.castColumns?.has(name) === true)
      fail(`column ${name} is both masked and cast`, 'cast it at the target, or compute it with set');
    if (rule.setColumns?.some((set) => set.column === name) === true)
      fail(`column ${name} is both masked and set: the mask would not see what set gives`);
    const to = rule.renameColumns.get(name) ?? name;
    const isKey = keys.some((key) => key.includes(name)) || (rule.key ?? []).includes(to);
    masks.set(name, compileMask(spec, column, { where: place, keys: rule.maskColumns?.keys ?? new Map(), isKey }));
  }
  return masks;
}

function inOrder(rule: RuleConfig, outputs: readonly OutputColumn[], place: string): OutputColumn[] {
  const fail = failAt(place);
  const names = outputs.map((output) => output.structure.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) fail(`two columns get the name ${twice}`);
  if (names.length === 0) fail('no column is left');
  const first = rule.orderColumns ?? [];
  for (const name of first)
    if (!names.includes(name))
      fail(`columns.order names a column that the target does not have: ${name}`, hint(name, names));
  const rank = (name: string): number => (first.includes(name) ? first.indexOf(name) : first.length);
  return outputs.toSorted((a, b) => rank(a.structure.name) - rank(b.structure.name));
}

function shapeStructure(
  structure: TableStructure,
  rule: RuleConfig,
  outputs: readonly OutputColumn[],
  place: string,
): TableStructure {
  const columns = outputs.map((output) => output.structure);
  if (isRowForRow(rule)) return { ...structure, columns, ...keysBehind(structure, rule, outputs, place) };
  const fail = failAt(place);
  if (rule.key == null)
    return fail(
      'unnest gives a row for each element, so it needs a key',
      'give the rule a key, such as [id, position]',
    );
  const names = columns.map(({ name }) => name);
  for (const column of rule.key)
    if (!names.includes(column))
      fail(`key names a column that the target does not have: ${column}`, hint(column, names));
  if (structure.identity.columns.length === 0 && !structure.identity.isFull)
    fail(`${formatTable(structure)} has no replica identity: nothing tells which rows a change is of`);
  const { key } = rule;
  return {
    ...structure,
    columns: columns.map((column) => ({
      ...column,
      notNull: column.notNull || key.includes(column.name),
      identity: '' as const,
    })),
    identity: { kind: 'primaryKey', columns: key, isFull: false },
    primaryKey: key,
    uniques: [],
    deferrable: [],
  };
}

/** The source's keys by their new names; those that lose a column are gone, but for the identity, which must stay. */
function keysBehind(
  structure: TableStructure,
  rule: RuleConfig,
  outputs: readonly OutputColumn[],
  place: string,
): Pick<TableStructure, 'identity' | 'primaryKey' | 'uniques' | 'deferrable'> {
  const fail = failAt(place);
  const names = new Map(
    outputs.flatMap(({ structure: { name }, reads: [from] }) => (from === undefined ? [] : [[from, name] as const])),
  );
  const byCopy = new Map(
    outputs.flatMap(({ isCopy, structure: { name }, reads: [from] }) =>
      isCopy && from !== undefined ? [[from, name] as const] : [],
    ),
  );
  for (const column of structure.identity.columns) {
    if (rule.dropColumns.includes(column) || (!byCopy.has(column) && !names.has(column)))
      fail(`column ${column} is part of the row's identity and cannot be dropped`, 'or give the rule a key of its own');
    if (!byCopy.has(column))
      fail(`column ${column} is part of the row's identity and gets another value`, 'give the rule a key of its own');
  }
  const keep = (columns: readonly string[]): string[] => {
    const kept = columns.flatMap((column) => byCopy.get(column) ?? []);
    return kept.length === columns.length ? kept : [];
  };
  const deferrable = structure.deferrable === undefined ? {} : { deferrable: structure.deferrable.map(keep) };
  return {
    identity: { ...structure.identity, columns: keep(structure.identity.columns) },
    primaryKey: keep(structure.primaryKey),
    uniques: structure.uniques.map(keep).filter((columns) => columns.length > 0),
    ...deferrable,
  };
}

function failAt(where: string): (what: string, fix?: string) => never {
  return (what, fix) => {
    throw new RestageError('rule_invalid', what, { where, ...(fix === undefined ? {} : { fix }) });
  };
}

function hint(column: string, names: readonly string[]): string | undefined {
  const near = nearest(column, names);
  return near === null ? undefined : `did you mean ${near}?`;
}
