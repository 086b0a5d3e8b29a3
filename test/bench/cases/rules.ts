import { runCli } from '../../harness/cli.ts';
import type { BenchCase } from '../bench-case.ts';
import type { BenchPipeline } from '../pipeline.ts';
import { rateOf, type RunResult } from '../result.ts';
import { drainOnce } from './drain.ts';
import { pgbenchWork } from './pgbench-work.ts';

const GOAL_PERCENT = 60;
const STEP_MS = 1_800_000;

/** Ten things that are done to each change of the tables that have a key: a name, a filter, three to columns, their order, four that are computed. */
const TEN = (['accounts', 'tellers', 'branches'] as const)
  .map((table) => {
    const [letter] = table;
    const [key, balance] = [`${letter}id`, `${letter}balance`];
    const columns = [
      `rename: { filler: padding }`,
      `cast: { ${balance}: int8 }`,
      `mask: { filler: { method: partial, keepLast: 4 } }`,
      `order: [${key}, label]`,
    ];
    const set = [
      `{ column: label, type: text, value: "'${letter}' + string(${key})" }`,
      `{ column: origin, type: text, value: "'pgbench'" }`,
      `{ column: owes, type: bool, value: "${balance} < 0" }`,
      `{ column: cents, type: int8, value: "${balance} * 100" }`,
    ];
    return `{ table: public.pgbench_${table}, rename: public.${table}, where: "${key} > 0", columns: { ${columns.join(', ')} }, set: [${set.join(', ')}] }`;
  })
  .join(', ');

/** What rules cost: the same backlog without a transformer, through one that passes it on, and through one with ten rules. */
export const rules: BenchCase = {
  name: 'rules',
  about: `a backlog of pgbench transactions without rules and with ten a change; at least ${GOAL_PERCENT} % of the rate is the goal`,
  async run(servers, options, report) {
    const runs: RunResult[] = [];
    for (const [name, rule] of [
      ['no transformer', null],
      ['no rule', ''],
      ['ten rules', TEN],
    ] as const)
      await drainOnce(servers, options, { work: pgbenchWork, rule, prove: proveThroughRules }, (result) => {
        const told = { ...result, case: 'rules', variant: name };
        const beside = runs.flatMap((other) => ratiosTo(other, told));
        runs.push(told);
        report(beside.length === 0 ? told : { ...told, more: Object.fromEntries(beside) });
      });
  },
};

/** Of wall time and of processor time of the services, which other work on the machine leaves alone. */
function ratiosTo(other: RunResult, result: RunResult): (readonly [string, number])[] {
  return [
    [`% of the rate, ${other.variant}`, (100 * rateOf(result)) / rateOf(other)],
    [`% of it by processor time, ${other.variant}`, (100 * servicesSeconds(other)) / servicesSeconds(result)],
  ];
}

function servicesSeconds({ figures: { processor } }: RunResult): number {
  return ['producer', 'transformer', 'sink'].reduce((sum, name) => sum + (processor[name] ?? 0), 0);
}

async function proveThroughRules({ file }: BenchPipeline): Promise<void> {
  const { code, stdout, stderr } = await runCli(['verify', '-c', file, '--target', 'new'], {}, STEP_MS);
  if (code !== 0) throw new Error(`verify ended with ${code}: ${stdout}${stderr}`);
}
