import { mayActAsReplica } from '#adapters/postgres/target/apply-session.ts';
import type { CheckedTarget } from './check-context.ts';
import type { Check, Finding } from './finding.ts';
import { eachTarget, findingOf } from './target-checks.ts';
import { needsReplica } from '../../sink/needs-replica.ts';

/** What `ordering: key` gives up at a target, and what it cannot do without. */
export const ORDERING_CHECKS: readonly Check[] = [
  { id: 'target.ordering', severity: 'warn', run: eachTarget((target) => Promise.resolve(checkOrdering(target))) },
  { id: 'target.ordering_right', severity: 'block', run: eachTarget(checkRight) },
];

function checkOrdering({ config }: CheckedTarget): Finding[] {
  if (config.ordering !== 'key') return [];
  return [
    {
      what: 'this target may show parts of source transactions, and tables at different moments: lanes apply side by side, each row in order',
      evidence: `ordering: key${config.lanes === undefined ? '' : `, ${config.lanes} lanes`}`,
      fix: 'set ordering: transaction, unless one sink cannot keep up; whoever needs one moment holds the sink (restage verify, pause and cutover do)',
    },
  ];
}

async function checkRight({ client, config }: CheckedTarget): Promise<Finding[]> {
  return config.ordering !== 'key' || (await mayActAsReplica(client)) ? [] : [findingOf(needsReplica(config.name))];
}
