import type { OutputConfig } from '#core/config.ts';
import { declarationOf } from '#core/module/module-config.ts';
import { findIrreversible } from '#core/rules/inverse.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey, type TableName } from '#core/table-name.ts';
import { isChosen } from '#core/table-patterns.ts';

/** A table of the source that the way back cannot keep current, and why. */
export interface LostTable {
  readonly table: TableName;
  readonly why: string;
}

export interface InverseRules {
  /** For tables of the target whose rules change something. */
  readonly rules: readonly RuleConfig[];
  readonly lost: readonly LostTable[];
}

/**
 * Rules that make the source's rows of the target's. New names of schemas, tables and columns go back by themselves, and columns that a
 * rule adds are left out; what has no inverse is named (core/rules/inverse.ts).
 */
export function invertRules(tables: readonly TableStructure[], output: OutputConfig | undefined): InverseRules {
  const declaration = output === undefined ? null : declarationOf(output);
  const rules: RuleConfig[] = [];
  const lost: LostTable[] = [];
  for (const structure of tables) {
    const { schema, table } = structure;
    const [rule, ...others] = (output?.rules ?? []).filter((one) => tableKey(one.table) === tableKey(structure));
    // What the output does not take is not moved by it: it stays where it is, or is another output's.
    if (!isChosen(structure, output?.tables ?? [])) continue;
    const reasons = findIrreversible(structure, output?.rules ?? [], declaration);
    const unknown = rule === undefined ? undefined : findUnknown(rule);
    if (unknown !== undefined) reasons.push(`its rule's ${unknown} has no inverse`);
    if (reasons.length > 0) lost.push({ table: { schema, table }, why: reasons.join('; ') });
    else if (rule !== undefined && others.length === 0) rules.push(...invert(rule, structure));
  }
  return { rules, lost };
}

const KNOWN: ReadonlySet<string> = new Set<keyof RuleConfig>([
  'table',
  'rename',
  'renameColumns',
  'dropColumns',
  'where',
  'keepColumns',
  'orderColumns',
  'castColumns',
  'setColumns',
  'key',
  'unnest',
  'outbox',
  'maskColumns',
  // Where it stands in the file.
  'place',
]);

/** A key of rules that came later, and that nobody has thought of here, is taken for one without an inverse. */
function findUnknown(rule: RuleConfig): string | undefined {
  const isEmpty = (value: unknown): boolean =>
    value === null || value === undefined || (Array.isArray(value) && value.length === 0);
  return Object.entries(rule).find(([key, value]) => !KNOWN.has(key) && !isEmpty(value))?.[0];
}

function invert(rule: RuleConfig, { columns }: TableStructure): RuleConfig[] {
  const { table, rename, renameColumns } = rule;
  const names = new Set(columns.map(({ name }) => name));
  const added = (rule.setColumns ?? []).map(({ column }) => column).filter((name) => !names.has(name));
  if (rename === null && renameColumns.size === 0 && added.length === 0) return [];
  return [
    {
      table: rename ?? table,
      rename: rename === null ? null : table,
      renameColumns: new Map([...renameColumns].map(([from, to]) => [to, from])),
      dropColumns: added.map((name) => renameColumns.get(name) ?? name),
      where: null,
    },
  ];
}
