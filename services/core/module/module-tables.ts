import { RestageError } from '#core/errors.ts';
import { structureOf, type DeclaredTable, type ModuleDeclaration } from '#core/module/declaration.ts';
import { nearest } from '#core/nearest.ts';
import type { Branch } from '#core/rules/branch.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';

/** Whether a table's changes go to the module, and so past the rules. */
export function isModuleSource(declaration: ModuleDeclaration | null, table: TableName): boolean {
  return declaration?.sources.has(tableKey(table)) === true;
}

/** The tables that a source table's changes come to, in the order of their declaration: structures alone, for the rows are the module's to give. */
export function moduleBranches(
  declaration: ModuleDeclaration,
  source: TableName,
  shapedPrefix: string,
): readonly Branch[] {
  return declaration.tables
    .filter(({ from }) => from.has(tableKey(source)))
    .map((table) => declaredBranch(table, shapedPrefix));
}

/** What stands for a rule, where only structures are asked. */
export function declaredBranch(table: DeclaredTable, shapedPrefix: string): Branch {
  const shaped = structureOf(table, shapedPrefix);
  return {
    shaped,
    version: structureVersion(shaped),
    rule: null,
    name: `the module, for ${formatTable(shaped)}`,
    timed: [],
    masks: new Map(),
    lookUps: [],
    remembers: null,
    keysOf: () => new Map(),
    isUnchanged: false,
    copier: null,
    deciding: [],
    joint: [],
    constants: new Map(),
    nameOf: () => null,
    madeFrom: () => [],
    rows: () => {
      throw new RestageError('bug', 'rows of a module were asked of a rule', { where: formatTable(shaped) });
    },
  };
}

/** What is wrong with a module beside the rules and over the captured tables. `compiled`: what the rules give. */
export function findModuleProblems(
  declaration: ModuleDeclaration,
  rules: readonly RuleConfig[],
  structures: readonly TableStructure[],
  ruled: readonly TableStructure[],
): RestageError[] {
  const names = structures.map(formatTable);
  const fail = (what: string, fix: string): RestageError[] => [
    new RestageError('rule_invalid', what, { where: `module ${declaration.file}`, fix }),
  ];
  const unknown = [...declaration.sources].flatMap(([key, name]) => {
    if (structures.some((structure) => tableKey(structure) === key)) return [];
    const near = nearest(name, names);
    const fix = near === null ? 'correct it, or add the table to source.tables' : `did you mean ${near}?`;
    return fail(`the module names a table that is not captured: ${name}`, fix);
  });
  const both = rules
    .filter(({ table, outbox }) => (outbox ?? null) === null && isModuleSource(declaration, table))
    .flatMap(({ table }) =>
      fail(
        `the module and a rule name one table: ${formatTable(table)}`,
        'keep one of them: a table that the module names goes through no rule',
      ),
    );
  const meeting = declaration.tables
    .filter((table) => ruled.some((shaped) => tableKey(shaped) === tableKey(table)))
    .flatMap((table) =>
      fail(
        `the module gives a table that another one has at the target: ${formatTable(table)}`,
        'give it another name, or let the module take the other table too',
      ),
    );
  const empty = declaration.tables
    .filter(({ from }) => from.size === 0)
    .flatMap((table) => fail(`no table's changes come to ${formatTable(table)}`, 'name one in its from'));
  return [...unknown, ...both, ...meeting, ...empty];
}

/**
 * What the structure's copy is told: rules that shape tables, and for a module's tables ones that take nothing from a source table that may
 * have their name.
 */
export function copyRules(rules: readonly RuleConfig[], declaration: ModuleDeclaration | null): RuleConfig[] {
  const ofModule = (declaration?.tables ?? []).map(({ schema, table, key }): RuleConfig => ({
    table: { schema, table },
    rename: null,
    renameColumns: new Map(),
    dropColumns: [],
    where: null,
    key,
  }));
  return [...rules.filter(({ outbox }) => outbox == null), ...ofModule];
}
