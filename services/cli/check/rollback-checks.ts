import { invertRules } from '#core/migration/inverse-rules.ts';
import { findOutput } from '#core/output-ref.ts';
import { formatTable } from '#core/table-name.ts';
import type { CheckContext, CheckedTarget } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';
import { eachTarget } from './target-checks.ts';

/** After a switch: can what is written at the target come back to the source. */
export const ROLLBACK_CHECKS: readonly Check[] = [
  { id: 'rollback.inverse', severity: 'warn', run: eachTarget(checkInverse) },
];

function checkInverse({ config: target }: CheckedTarget, { config, tables }: CheckContext): Promise<Finding[]> {
  const { lost } = invertRules(tables, findOutput(config.outputs, target.output));
  return Promise.resolve(
    lost.length === 0
      ? []
      : [
          {
            what: `rows of ${lost.length} tables that are written after a switch cannot be brought back to the source`,
            evidence: listSome(lost.map(({ table, why }) => `${formatTable(table)} (${why})`)),
            fix: 'decide before the switch that there is no way back for these tables, or change their rules',
          },
        ],
  );
}
