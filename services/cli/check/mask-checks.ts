import type { OutputConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { outputRef } from '#core/output-ref.ts';
import { CapturePolicy } from '#core/rules/capture-policy.ts';
import { compileTable, type TableRules } from '#core/rules/table-rules.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import type { CheckContext } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';

/** Where each mask and exclusion works, and so which topics hold the values. Masks that do not fit end the check before. */
export const MASK_CHECKS: readonly Check[] = [
  { id: 'masks.capture', severity: 'info', run: checkCapture },
  { id: 'masks.output', severity: 'warn', run: checkOutputs },
];

function checkCapture({ config, tables }: CheckContext): Promise<Finding[]> {
  const policy = new CapturePolicy(config);
  const findings = tables
    .filter((table) => policy.namedColumns(table).length > 0)
    .map((table): Finding => {
      const masked = table.columns.flatMap(({ name, mask }) => (mask === undefined ? [] : [`${name} by ${mask}`]));
      const left = (table.excluded ?? []).map((name) => `${name} left out`);
      return {
        what: `columns of ${formatTable(table)} are masked or left out at capture: their values are in no topic`,
        evidence: listSome([...masked, ...left], 20),
        fix: 'nothing to do; a mask of an output protects its shaped topics alone, and the raw ones hold the value',
      };
    });
  return Promise.resolve(findings);
}

/** Masks of rules leave the value in the raw topics, and in dead letters of the transformer. */
function checkOutputs({ config, tables }: CheckContext): Promise<Finding[]> {
  const findings = config.outputs.flatMap((output) =>
    tables.flatMap((table): Finding[] => {
      const masks = compile(table, output, tables)?.branches.flatMap(({ masks: own }) => [...own]) ?? [];
      if (masks.length === 0) return [];
      const named = [...new Map(masks)].map(([column, { id }]) => `${column} by ${id}`);
      return [
        {
          what: `columns of ${formatTable(table)} are masked by the rules of output ${outputRef(config.outputs, output)}: the raw topics hold their values`,
          evidence: listSome(named, 20),
          fix: 'mask them at capture (source.columns) where no topic may hold them; else let nobody read the raw topics and <name>.dlq',
        },
      ];
    }),
  );
  return Promise.resolve(findings);
}

/** null where the rules are wrong: another check says so. */
function compile(
  table: TableStructure,
  { rules, tables }: OutputConfig,
  captured: readonly TableStructure[],
): TableRules | null {
  try {
    return compileTable(table, rules, '', null, { captured, tables });
  } catch (error) {
    if (error instanceof RestageError) return null;
    throw error;
  }
}
