import type { Config } from '#core/config.ts';
import { findOutput, outputRef } from '#core/output-ref.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import { DeadLetterStore, hasDeadLetters } from '#adapters/postgres/target/dead-letter-store.ts';
import type { CheckContext, CheckedTarget } from './check-context.ts';
import type { Check, Finding } from './finding.ts';
import { eachTarget } from './target-checks.ts';

/** What becomes of events that a target refuses, and what waits there already. */
export const QUARANTINE_CHECKS: readonly Check[] = [
  { id: 'output.quarantine', severity: 'info', run: ({ config }) => Promise.resolve(checkOutputs(config)) },
  { id: 'target.quarantine', severity: 'info', run: eachTarget((target) => Promise.resolve(checkPolicy(target))) },
  { id: 'target.dead_letters', severity: 'warn', run: eachTarget(checkWaiting) },
];

const MEANINGS: Readonly<Record<Exclude<QuarantinePolicy, 'stop'>, Omit<Finding, 'evidence'>>> = {
  transaction: {
    what: 'what this target refuses waits as dead letters, whole source transactions, and so does what touches their rows later',
    fix: 'watch restage_dead_letters; restage dlq list says what waits, restage dlq retry applies it once the cause is mended',
  },
  row: {
    severity: 'warn',
    what: 'this target may show parts of source transactions: what it refuses is left out row by row, and waits as dead letters',
    fix: 'set quarantine: transaction, unless half a transaction is better than none; watch restage_dead_letters',
  },
};

const OUTPUT_MEANINGS: typeof MEANINGS = {
  transaction: {
    what: 'what the rules of this output do not take waits as dead letters, whole source transactions, and so does what touches their rows later',
    fix: 'watch restage_dead_letters; restage dlq list says what waits',
  },
  row: {
    severity: 'warn',
    what: 'targets of this output may show parts of source transactions: what the rules do not take is left out row by row, and waits as dead letters',
    fix: 'set quarantine: transaction, unless half a transaction is better than none; watch restage_dead_letters',
  },
};

function checkPolicy({ config }: CheckedTarget): Finding[] {
  const policy = config.quarantine ?? 'stop';
  return policy === 'stop' ? [] : [{ ...MEANINGS[policy], evidence: `quarantine: ${policy}` }];
}

/** What waits behind rules is missing at every target of the output, so what refers to it is refused there. */
function checkOutputs({ outputs, targets }: Config): Finding[] {
  return outputs.flatMap((output) => {
    const policy = output.quarantine ?? 'stop';
    if (policy === 'stop') return [];
    const stopping = targets
      .filter((target) => findOutput(outputs, target.output) === output && (target.quarantine ?? 'stop') === 'stop')
      .map(({ name }) => name);
    const base = {
      ...OUTPUT_MEANINGS[policy],
      evidence: `output ${outputRef(outputs, output)}, quarantine: ${policy}`,
    };
    if (stopping.length === 0) return [base];
    const what = `a row that refers to one that waits behind the rules of output ${outputRef(outputs, output)} stops these sinks: ${stopping.join(', ')}`;
    return [
      base,
      {
        what,
        evidence: 'targets[].quarantine: stop',
        fix: `set targets[].quarantine: ${policy}, so that it waits too`,
      },
    ];
  });
}

async function checkWaiting({ client }: CheckedTarget, { config }: CheckContext): Promise<Finding[]> {
  if (!(await hasDeadLetters(client))) return [];
  const { waiting, heldKeys } = await new DeadLetterStore(client, config.name).counts();
  return waiting === 0
    ? []
    : [
        {
          what: 'dead letters wait: rows of this target are not as the source has them',
          evidence: `${waiting} in restage.dead_letter, at ${heldKeys} rows`,
          fix: `restage dlq list -c ${config.file}`,
        },
      ];
}
