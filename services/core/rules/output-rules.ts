import type { OutputConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { ModuleDeclaration } from '#core/module/declaration.ts';
import { findModuleProblems, isModuleSource } from '#core/module/module-tables.ts';
import { nearest } from '#core/nearest.ts';
import type { Branch } from '#core/rules/branch.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { atPlace } from '#core/rules/rule-place.ts';
import { findLaneProblems, type LaneOutput } from '#core/rules/row-by-row.ts';
import { compileTable, isShaping, type TableContext, type TableRules } from '#core/rules/table-rules.ts';
import { findValidationProblems } from '#core/rules/validation.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';
import { findUnmatched, globOf, isChosen, plainName } from '#core/table-patterns.ts';

/** What an output is told to make of its tables. */
type OutputShape = Pick<OutputConfig, 'rules' | 'tables'> & LaneOutput;

/** @throws RestageError rule_invalid, the first of findOutputProblems. */
export function requireSoundOutput(
  output: OutputShape,
  structures: readonly TableStructure[],
  shapedPrefix: string,
  declaration: ModuleDeclaration | null,
): void {
  const [first] = findOutputProblems(output, structures, shapedPrefix, declaration);
  if (first !== undefined) throw first;
}

/** What is wrong with an output's rules and checks over all captured tables. */
export function findOutputProblems(
  output: OutputShape,
  structures: readonly TableStructure[],
  shapedPrefix: string,
  declaration: ModuleDeclaration | null,
): RestageError[] {
  const { rules, tables, validations = [] } = output;
  const named = [
    ...rules.map(({ table, place }) => ({ table, place, what: 'a rule' })),
    ...validations.map(({ table, name, place }) => ({ table, place, what: `check ${name}` })),
    ...structures
      .filter((structure) => isModuleSource(declaration, structure))
      .map((table) => ({ table, place: undefined, what: 'the module' })),
  ];
  return [
    ...(tables === undefined ? [] : findRoutingProblems(tables, structures, named)),
    ...findRuleProblems(rules, structures, shapedPrefix, declaration, tables),
    ...findValidationProblems(validations, structures),
    ...findLaneProblems(output, () =>
      structures.flatMap((structure) => {
        const one = tryCompile(structure, rules, shapedPrefix, { captured: structures, tables });
        return one instanceof RestageError ? [] : [one];
      }),
    ),
  ];
}

/** Of an output that does not take every table. */
function findRoutingProblems(
  tables: readonly string[],
  structures: readonly TableStructure[],
  named: readonly { readonly table: TableName; readonly place: string | undefined; readonly what: string }[],
): RestageError[] {
  const fail = (what: string, fix: string, place?: string): RestageError =>
    new RestageError('rule_invalid', what, { where: atPlace(place, `tables: ${tables.join(', ')}`), fix });
  const unmatched = findUnmatched(tables, structures).map((pattern) => {
    const near = nearest(globOf(pattern), structures.map(plainName));
    return fail(
      `the output's tables: no captured table matches ${JSON.stringify(pattern)}`,
      near === null ? 'correct the pattern, or add the table to source.tables' : `did you mean ${near}?`,
    );
  });
  const isKnown = (table: TableName): boolean => structures.some((one) => tableKey(one) === tableKey(table));
  const left = named.filter(({ table }) => isKnown(table) && !isChosen(table, tables));
  return [
    ...unmatched,
    ...left.map(({ table, what, place }) =>
      fail(
        `${what} names a table that the output does not take: ${formatTable(table)}`,
        `add ${plainName(table)} to the output's tables`,
        place,
      ),
    ),
  ];
}

/** What is wrong with an output's rules over all captured tables: every rule that does not compile, and tables that would meet. */
export function findRuleProblems(
  rules: readonly RuleConfig[],
  structures: readonly TableStructure[],
  shapedPrefix: string,
  declaration: ModuleDeclaration | null = null,
  tables?: readonly string[],
): RestageError[] {
  const shaping = rules.filter(isShaping);
  const problems = [
    ...shaping.flatMap((rule, index) => findMisnamed(rule, shaping.slice(0, index), structures)),
    ...findOutboxProblems(rules, structures),
  ];
  const compiled: TableRules[] = [];
  for (const structure of structures) {
    if (isModuleSource(declaration, structure)) continue;
    const one = tryCompile(structure, rules, shapedPrefix, { captured: structures, tables });
    if (one instanceof RestageError) problems.push(one);
    else compiled.push(one);
  }
  const ruled = compiled.flatMap(({ branches }) => branches.map(({ shaped }) => shaped));
  const ofModule = declaration === null ? [] : findModuleProblems(declaration, rules, structures, ruled);
  return [...problems, ...findMeetings(compiled, shaping), ...ofModule];
}

/** A table at the target, and where its rows come from. */
export interface Meeting {
  readonly source: TableStructure;
  readonly branch: Branch;
}

/** The branches by their table at the target, in the order given. */
export function byTarget(compiled: readonly TableRules[]): Map<string, Meeting[]> {
  const targets = new Map<string, Meeting[]>();
  for (const { source, branches } of compiled) {
    for (const branch of branches) {
      const key = tableKey(branch.shaped);
      targets.set(key, [...(targets.get(key) ?? []), { source, branch }]);
    }
  }
  return targets;
}

/** Two tables may give one only where rules say so of both, and with the same columns. */
function findMeetings(compiled: readonly TableRules[], rules: readonly RuleConfig[]): RestageError[] {
  return [...byTarget(compiled).values()].flatMap(([first, ...others]) =>
    first === undefined ? [] : others.flatMap((other) => findClash(first, other, rules)),
  );
}

function findClash(first: Meeting, other: Meeting, rules: readonly RuleConfig[]): RestageError[] {
  const { shaped } = first.branch;
  const names = `${formatTable(first.source)} and ${formatTable(other.source)}`;
  const place = other.branch.rule?.place ?? first.branch.rule?.place;
  const clash = (what: string, fix: string): RestageError[] => [
    new RestageError('rule_invalid', what, { where: atPlace(place, names), fix }),
  ];
  const isNamed = ({ source }: Meeting): boolean => rules.some((rule) => tableKey(rule.table) === tableKey(source));
  if (tableKey(first.source) === tableKey(other.source))
    return clash(
      `two rules for the table ${formatTable(first.source)} give the same table`,
      'make one of them, or rename',
    );
  if (!isNamed(first) || !isNamed(other))
    return clash(
      `two tables get the name ${formatTable(shaped)}: ${names}`,
      'rename one of them otherwise; to merge them, give each a rule',
    );
  const key = (meeting: Meeting): string => JSON.stringify(meeting.branch.shaped.identity.columns);
  if (key(first) !== key(other) || shaped.identity.columns.length === 0)
    return clash(
      `tables that are merged into ${formatTable(shaped)} have different keys`,
      'give their rules the same key',
    );
  const differing = differences(shaped.columns, other.branch.shaped.columns);
  if (differing.length === 0) return [];
  return clash(
    `tables that are merged into ${formatTable(shaped)} have different columns: ${differing.join(', ')}`,
    'rename, drop, cast or set columns until both have the same ones',
  );
}

function differences(left: readonly ColumnStructure[], right: readonly ColumnStructure[]): string[] {
  const types = new Map(right.map((column) => [column.name, column]));
  const missing = right.filter(({ name }) => !left.some((column) => column.name === name)).map(({ name }) => name);
  const other = left.flatMap((column) => {
    const there = types.get(column.name);
    if (there === undefined) return [column.name];
    const isSame = there.typeSchema === column.typeSchema && there.type === column.type;
    return isSame ? [] : [`${column.name} (${column.type} and ${there.type})`];
  });
  return [...missing, ...other];
}

function findOutboxProblems(rules: readonly RuleConfig[], structures: readonly TableStructure[]): RestageError[] {
  const outboxes = rules.filter((rule) => !isShaping(rule));
  return outboxes.flatMap((rule, index) =>
    outboxes.findIndex((other) => tableKey(other.table) === tableKey(rule.table)) < index
      ? [
          new RestageError('rule_invalid', `two rules make ${formatTable(rule.table)} an outbox`, {
            ...whereOf(rule),
            fix: 'keep one of them',
          }),
        ]
      : findUnknown(rule, structures),
  );
}

function findMisnamed(
  rule: RuleConfig,
  earlier: readonly RuleConfig[],
  structures: readonly TableStructure[],
): RestageError[] {
  const targetOf = ({ rename, table }: RuleConfig): string => tableKey(rename ?? table);
  const twin = earlier.find(
    (other) => tableKey(other.table) === tableKey(rule.table) && targetOf(other) === targetOf(rule),
  );
  if (twin !== undefined)
    return [
      new RestageError('rule_invalid', `two rules name the table ${formatTable(rule.table)} and give the same one`, {
        ...whereOf(rule),
        fix: 'make one of them, or rename in one of them',
      }),
    ];
  return findUnknown(rule, structures);
}

function whereOf({ place }: RuleConfig): { readonly where?: string } {
  return place === undefined ? {} : { where: place };
}

function findUnknown(rule: RuleConfig, structures: readonly TableStructure[]): RestageError[] {
  const name = rule.table;
  if (structures.some((structure) => tableKey(structure) === tableKey(name))) return [];
  const near = nearest(formatTable(name), structures.map(formatTable));
  return [
    new RestageError('rule_invalid', `a rule names a table that is not captured: ${formatTable(name)}`, {
      ...whereOf(rule),
      fix: near === null ? 'correct the rule, or add the table to source.tables' : `did you mean ${near}?`,
    }),
  ];
}

function tryCompile(
  structure: TableStructure,
  rules: readonly RuleConfig[],
  shapedPrefix: string,
  context: Partial<TableContext>,
): TableRules | RestageError {
  try {
    return compileTable(structure, rules, shapedPrefix, null, context);
  } catch (error) {
    if (error instanceof RestageError) return error;
    throw error;
  }
}
