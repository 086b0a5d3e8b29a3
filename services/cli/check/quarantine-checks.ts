import type { QuarantinePolicy } from '#core/quarantine.ts';
import { DeadLetterStore, hasDeadLetters } from '#adapters/postgres/target/dead-letter-store.ts';
import type { CheckContext, CheckedTarget } from './check-context.ts';
import type { Check, Finding } from './finding.ts';
import { eachTarget } from './target-checks.ts';

/** What becomes of events that a target refuses, and what waits there already. */
export const QUARANTINE_CHECKS: readonly Check[] = [
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

function checkPolicy({ config }: CheckedTarget): Finding[] {
  const policy = config.quarantine ?? 'stop';
  return policy === 'stop' ? [] : [{ ...MEANINGS[policy], evidence: `quarantine: ${policy}` }];
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
