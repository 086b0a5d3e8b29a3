import { CapturePolicy } from '#core/rules/capture-policy.ts';
import { formatTable } from '#core/table-name.ts';
import type { CheckContext } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';

/** Where each mask and exclusion works, and so which topics hold the values. Masks that do not fit end the check before. */
export const MASK_CHECKS: readonly Check[] = [{ id: 'masks.capture', severity: 'info', run: checkCapture }];

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
