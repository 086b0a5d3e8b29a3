import type { Image } from '#core/change.ts';
import { cellText, type Row } from '#core/envelope.ts';
import type { RuleConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import { compileWhere, type Where } from '#core/rules/where.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import { tableTopic } from '#core/topic-names.ts';

/** A row event as a rule sees it: parsed images, `undefined` images never. */
export interface RowEvent {
  readonly op: 'c' | 'u' | 'd' | 'r';
  /** The identity's columns, of the new row where there is one; null for a table without identity. */
  readonly key: Row | null;
  readonly before: Row | null;
  readonly after: Row | null;
}

/** A table's way through an output's rules: select → where → drop → rename. Later rules may give more than one event. */
export interface TableRule {
  readonly shaped: TableStructure;
  readonly version: number;
  /** Key and value pass byte for byte. */
  readonly isUnchanged: boolean;
  /** A column's name behind the rule; null where it is dropped. */
  nameOf(column: string): string | null;
  /**
   * None when the row is filtered out; an update that crosses the filter becomes an insert or a delete. `place` names the event.
   * @throws RestageError rule_failed when the event does not carry what the rule needs.
   */
  apply(event: RowEvent, place: string): readonly RowEvent[];
}

/** @throws RestageError rule_invalid naming rule, table and column. */
export function compileTable(structure: TableStructure, rules: readonly RuleConfig[], shapedPrefix: string): TableRule {
  const rule = rules.find((candidate) => tableKey(candidate.table) === tableKey(structure));
  const shaped = shapeStructure(structure, rule ?? null, shapedPrefix);
  const version = structureVersion(shaped);
  if (rule === undefined)
    return { shaped, version, isUnchanged: true, nameOf: (column) => column, apply: (event) => [event] };
  const where = rule.where === null ? null : requireImages(compileWhere(rule.where, structure), structure, rule.where);
  const reshape = makeReshape(rule);
  const isUnchanged = where === null && rule.renameColumns.size === 0 && rule.dropColumns.length === 0;
  const apply = (event: RowEvent, place: string): readonly RowEvent[] => {
    const passed = where === null ? event : filterEvent(event, where, structure, place);
    return passed === null
      ? []
      : [{ op: passed.op, key: reshape(passed.key), before: reshape(passed.before), after: reshape(passed.after) }];
  };
  const nameOf = (column: string): string | null =>
    rule.dropColumns.includes(column) ? null : (rule.renameColumns.get(column) ?? column);
  return { shaped, version, isUnchanged, nameOf, apply };
}

/** @throws RestageError rule_invalid, the first of findRuleProblems. */
export function requireSoundRules(
  rules: readonly RuleConfig[],
  structures: readonly TableStructure[],
  shapedPrefix: string,
): void {
  const [first] = findRuleProblems(rules, structures, shapedPrefix);
  if (first !== undefined) throw first;
}

/** What is wrong with an output's rules over all captured tables: every rule that does not compile, and tables that would meet. */
export function findRuleProblems(
  rules: readonly RuleConfig[],
  structures: readonly TableStructure[],
  shapedPrefix: string,
): RestageError[] {
  const problems = rules.flatMap((rule, index) => findMisnamed(rule, rules.slice(0, index), structures));
  const seen = new Map<string, TableName>();
  for (const structure of structures) {
    const compiled = tryCompile(structure, rules, shapedPrefix);
    if (compiled instanceof RestageError) {
      problems.push(compiled);
      continue;
    }
    const other = seen.get(tableKey(compiled.shaped));
    if (other !== undefined) {
      const names = `${formatTable(other)} and ${formatTable(structure)}`;
      problems.push(
        new RestageError('rule_invalid', `two tables get the name ${formatTable(compiled.shaped)}: ${names}`, {
          fix: 'rename one of them otherwise',
        }),
      );
    }
    seen.set(tableKey(compiled.shaped), structure);
  }
  return problems;
}

function findMisnamed(
  rule: RuleConfig,
  earlier: readonly RuleConfig[],
  structures: readonly TableStructure[],
): RestageError[] {
  if (earlier.some((other) => tableKey(other.table) === tableKey(rule.table)))
    return [
      new RestageError('rule_invalid', `two rules name the table ${formatTable(rule.table)}`, {
        fix: 'make one of them',
      }),
    ];
  if (structures.some((structure) => tableKey(structure) === tableKey(rule.table))) return [];
  const near = nearest(formatTable(rule.table), structures.map(formatTable));
  return [
    new RestageError('rule_invalid', `a rule names a table that is not captured: ${formatTable(rule.table)}`, {
      fix: near === null ? 'correct the rule, or add the table to source.tables' : `did you mean ${near}?`,
    }),
  ];
}

function tryCompile(
  structure: TableStructure,
  rules: readonly RuleConfig[],
  shapedPrefix: string,
): TableRule | RestageError {
  try {
    return compileTable(structure, rules, shapedPrefix);
  } catch (error) {
    if (error instanceof RestageError) return error;
    throw error;
  }
}

function shapeStructure(structure: TableStructure, rule: RuleConfig | null, shapedPrefix: string): TableStructure {
  const name = rule?.rename ?? { schema: structure.schema, table: structure.table };
  const topic = tableTopic(shapedPrefix, name);
  if (rule === null) return { ...structure, topic };
  requireColumns(structure, rule);
  const dropped = new Set(rule.dropColumns);
  const rename = (column: string): string => rule.renameColumns.get(column) ?? column;
  const keep = (columns: readonly string[]): string[] =>
    columns.some((column) => dropped.has(column)) ? [] : columns.map(rename);
  return {
    ...structure,
    ...name,
    topic,
    columns: structure.columns
      .filter((column) => !dropped.has(column.name))
      .map((column) => ({ ...column, name: rename(column.name) })),
    identity: { ...structure.identity, columns: structure.identity.columns.map(rename) },
    primaryKey: keep(structure.primaryKey),
    uniques: structure.uniques.map(keep).filter((columns) => columns.length > 0),
    ...(structure.deferrable === undefined ? {} : { deferrable: structure.deferrable.map(keep) }),
  };
}

function requireColumns(structure: TableStructure, rule: RuleConfig): void {
  const names = structure.columns.map((column) => column.name);
  const fail = (what: string, fix?: string): never => {
    throw new RestageError('rule_invalid', what, {
      where: `rule for ${formatTable(structure)}`,
      ...(fix === undefined ? {} : { fix }),
    });
  };
  for (const column of [...rule.dropColumns, ...rule.renameColumns.keys()]) {
    const near = nearest(column, names);
    if (!names.includes(column))
      fail(`column ${column} is not in the table`, near === null ? undefined : `did you mean ${near}?`);
  }
  for (const column of rule.dropColumns) {
    if (rule.renameColumns.has(column)) fail(`column ${column} is both renamed and dropped`);
    if (structure.identity.columns.includes(column))
      fail(`column ${column} is part of the row's identity and cannot be dropped`);
  }
  const after = names
    .filter((column) => !rule.dropColumns.includes(column))
    .map((column) => rule.renameColumns.get(column) ?? column);
  const twice = after.find((column, index) => after.indexOf(column) !== index);
  if (twice !== undefined) fail(`two columns get the name ${twice}`);
}

/** Old and new image both decide, so the source must send the columns of both. */
function requireImages(where: Where, structure: TableStructure, expression: string): Where {
  const isKeyOnly = where.columns.every((column) => structure.identity.columns.includes(column));
  if (isKeyOnly || structure.identity.isFull) return where;
  throw new RestageError('rule_invalid', 'the expression needs old values that the source does not send', {
    where: `rule for ${formatTable(structure)}, where: ${expression}`,
    fix: `ALTER TABLE ${quoteTable(structure)} REPLICA IDENTITY FULL;`,
  });
}

function filterEvent(event: RowEvent, where: Where, structure: TableStructure, place: string): RowEvent | null {
  const { key, before, after } = event;
  if (event.op !== 'u' || after === null) {
    const row = after ?? before;
    return row !== null && where.passes(imageOf(row), place) ? event : null;
  }
  // Without an old image the key is as it was, and only the key decides.
  const old = before ?? key ?? after;
  // A value that is not in the new image did not change: the old image has it, or the key (a toasted identity column).
  const whole = mergeRows(mergeRows(key, before), after);
  const was = where.passes(imageOf(old), place);
  const is = where.passes(imageOf(whole), place);
  if (was && is) return event;
  const { identity } = structure;
  if (was)
    return {
      op: 'd',
      key: key === null ? null : pick(mergeRows(key, old), identity.columns),
      before: identity.isFull ? old : pick(old, identity.columns),
      after: null,
    };
  if (!is) return null;
  requireWhole(whole, structure, place);
  return { op: 'c', key, before: null, after: whole };
}

/** A row that enters must be there whole (invariant 3): an absent column would become its default at the target. */
function requireWhole(row: Row, structure: TableStructure, place: string): void {
  const missing = structure.columns.filter((column) => !column.generated && !Object.hasOwn(row, column.name));
  if (missing.length === 0) return;
  throw new RestageError(
    'rule_failed',
    `a row enters the output, but its event lacks the unchanged values of ${missing.map((column) => column.name).join(', ')}`,
    {
      where: place,
      fix: `ALTER TABLE ${quoteTable(structure)} REPLICA IDENTITY FULL; then start the output anew under its next version`,
    },
  );
}

export function imageOf(row: Row): Image {
  return new Map(Object.entries(row).map(([name, cell]) => [name, cellText(cell)]));
}

function mergeRows(before: Row | null, after: Row | null): Row {
  const newer = after ?? {};
  return fromEntries([
    ...Object.entries(before ?? {}).filter(([name]) => !Object.hasOwn(newer, name)),
    ...Object.entries(newer),
  ]);
}

function pick(row: Row, columns: readonly string[]): Row {
  return fromEntries(Object.entries(row).filter(([name]) => columns.includes(name)));
}

function makeReshape(rule: RuleConfig): (row: Row | null) => Row | null {
  const dropped = new Set(rule.dropColumns);
  return (row) =>
    row === null
      ? null
      : fromEntries(
          Object.entries(row)
            .filter(([name]) => !dropped.has(name))
            .map(([name, cell]) => [rule.renameColumns.get(name) ?? name, cell]),
        );
}

/** Own properties even for `__proto__`, which Object.fromEntries defines as one. */
function fromEntries(entries: readonly (readonly [string, Row[string]])[]): Row {
  return Object.fromEntries(entries);
}
