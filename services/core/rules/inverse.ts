import type { ModuleDeclaration } from '#core/module/declaration.ts';
import { isModuleSource } from '#core/module/module-tables.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { isMerged, isShaping } from '#core/rules/table-rules.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey } from '#core/table-name.ts';

/** What of a table's way to a target cannot be gone back: a row there does not say what the row at the source was. Empty: all can. */
export function findIrreversible(
  table: TableStructure,
  rules: readonly RuleConfig[],
  declaration: ModuleDeclaration | null,
): string[] {
  const masked = table.columns.filter(({ mask }) => mask !== undefined).map(({ name }) => name);
  const captured = [
    ...(masked.length === 0 ? [] : [`masked at capture: ${masked.join(', ')}`]),
    ...(table.excluded === undefined ? [] : [`left out at capture: ${table.excluded.join(', ')}`]),
  ];
  if (declaration !== null && isModuleSource(declaration, table)) return [...captured, 'its rows come from a module'];
  const own = rules.filter((rule) => tableKey(rule.table) === tableKey(table));
  const shaping = own.filter(isShaping);
  if (own.length > 0 && shaping.length === 0) return [...captured, 'its rows become events alone'];
  if (shaping.length > 1) return [...captured, 'it is split over several tables'];
  const [rule] = shaping;
  if (rule === undefined) return captured;
  const kept = rule.keepColumns ?? null;
  const left = table.columns
    .map(({ name }) => name)
    .filter((name) => rule.dropColumns.includes(name) || (kept !== null && !kept.includes(name)));
  const names = new Set(table.columns.map(({ name }) => name));
  const replaced = (rule.setColumns ?? []).map(({ column }) => column).filter((name) => names.has(name));
  return [
    ...captured,
    ...(isMerged(rule, rules.filter(isShaping)) ? ['rows of several tables come together'] : []),
    ...(rule.where === null ? [] : ['rows are left out by where']),
    ...((rule.unnest ?? null) === null ? [] : ['one row becomes several']),
    ...(left.length === 0 ? [] : [`columns are left out: ${left.join(', ')}`]),
    ...(replaced.length === 0 ? [] : [`columns are replaced: ${replaced.join(', ')}`]),
    ...[...(rule.castColumns?.keys() ?? [])].map((name) => `another type: ${name}`),
    ...[...(rule.maskColumns?.specs.keys() ?? [])].map((name) => `masked: ${name}`),
    ...((rule.key ?? null) === null ? [] : ['another key']),
  ];
}
