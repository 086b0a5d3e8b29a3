import { declarationOf } from '#core/module/module-config.ts';
import { findOutputProblems } from '#core/rules/output-rules.ts';
import { outputRef } from '#core/output-ref.ts';
import { shapedPrefix } from '#core/topic-names.ts';
import type { CheckContext } from './check-context.ts';
import type { Check, Finding } from './finding.ts';

/** The rules of every output, compiled against the captured tables as the transformer compiles them. */
export const RULE_CHECKS: readonly Check[] = [{ id: 'rules', severity: 'block', run: checkRules }];

async function checkRules({ config, tables }: CheckContext): Promise<Finding[]> {
  return config.outputs.flatMap((output) =>
    findOutputProblems(
      output,
      tables,
      shapedPrefix(config.name, output.name, output.version),
      declarationOf(output),
    ).map((problem) => ({
      what: problem.message,
      evidence: `output ${outputRef(config.outputs, output)}${problem.where === undefined ? '' : `: ${problem.where}`}`,
      fix: problem.fix ?? 'correct the rule',
    })),
  );
}
