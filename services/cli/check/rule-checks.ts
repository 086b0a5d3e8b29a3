import { parse } from '@marcbachmann/cel-js';
import type { RuleConfig } from '#core/config.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable, tableKey } from '#core/table-name.ts';
import type { CheckContext } from './check-context.ts';
import type { Check, Finding } from './finding.ts';

/** The rules of every output against the tables that they name. */
export const RULE_CHECKS: readonly Check[] = [
  { id: 'rules.names', severity: 'block', run: (context) => eachRule(context, checkNames) },
  { id: 'rules.where', severity: 'block', run: (context) => eachRule(context, checkWhere) },
];

async function eachRule(
  { config, tables }: CheckContext,
  run: (rule: RuleConfig, table: TableStructure | undefined) => Finding[],
): Promise<Finding[]> {
  const byName = new Map(tables.map((table) => [tableKey(table), table]));
  return config.outputs.flatMap((output) =>
    output.rules.flatMap((rule) =>
      run(rule, byName.get(tableKey(rule.table))).map((finding) => ({
        ...finding,
        evidence: `output ${output.name}: ${finding.evidence}`,
      })),
    ),
  );
}

function checkNames(rule: RuleConfig, table: TableStructure | undefined): Finding[] {
  if (table === undefined) {
    return [
      {
        what: 'a rule names a table that is not among the chosen ones',
        evidence: formatTable(rule.table),
        fix: 'correct the rule, or add the table to source.tables',
      },
    ];
  }
  const columns = new Set(table.columns.map((column) => column.name));
  const unknown = [...rule.renameColumns.keys(), ...rule.dropColumns].filter((column) => !columns.has(column));
  const lost = rule.dropColumns.filter((column) => table.identity.columns.includes(column));
  return [
    ...unknown.map((column) => ({
      what: 'a rule names a column that its table does not have',
      evidence: `${formatTable(table)}: ${column}`,
      fix: `use one of ${[...columns].join(', ')}`,
    })),
    ...lost.map((column) => ({
      what: 'a rule drops a column that names rows in changes',
      evidence: `${formatTable(table)}: ${column}`,
      fix: `take ${column} out of columns.drop`,
    })),
  ];
}

/** Old and new image decide together whether a row enters or leaves, so the old one must hold what `where` reads. */
function checkWhere(rule: RuleConfig, table: TableStructure | undefined): Finding[] {
  if (rule.where === null || table === undefined) return [];
  try {
    parse(rule.where);
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    return [
      {
        what: "a rule's where is not an expression",
        evidence: `${formatTable(table)}: ${reason}`,
        fix: 'correct it; it is CEL over the columns of the row',
      },
    ];
  }
  if (table.identity.isFull) return [];
  const words = new Set(
    rule.where.replaceAll(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/gs, ' ').match(/[\p{L}_][\p{L}\p{N}_]*/gu) ?? [],
  );
  const outside = table.columns.filter(
    (column) => words.has(column.name) && !table.identity.columns.includes(column.name),
  );
  return outside.length === 0
    ? []
    : [
        {
          what: "a rule's where reads columns that the old row of an UPDATE or DELETE does not carry",
          evidence: `${formatTable(table)}: ${outside.map((column) => column.name).join(', ')}`,
          fix: `ALTER TABLE ${quoteTable(table)} REPLICA IDENTITY FULL;`,
        },
      ];
}
