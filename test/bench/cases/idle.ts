import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchCase } from '../bench-case.ts';
import { requireEqual } from '../equality.ts';
import { measure } from '../measure.ts';
import { BenchPipeline, currentLsn } from '../pipeline.ts';
import { pgbenchWork } from './pgbench-work.ts';

const SECONDS = 60;

/** What a pipeline costs while nothing happens at the source. */
export const idle: BenchCase = {
  name: 'idle',
  about: `processor time of every service while the source is silent for ${SECONDS} s`,
  async run(servers, options, report) {
    const pair = await servers.pair('bench_idle');
    await pgbenchWork.fill(pair.source, { scale: 1, transactions: 0 });
    await using pipeline = await BenchPipeline.open(servers, pair, {
      rule: pgbenchWork.rule,
      profiles: options.profiles,
    });
    pipeline.start(...pipeline.stages);
    await pipeline.reach('sink', await currentLsn(pair.source));
    const services = (): Map<string, number> => new Map(pipeline.pids);
    const before = await (await measure(servers, services))();
    const finish = await measure(servers, services);
    await sleep(SECONDS * 1000);
    const after = await finish();
    await pipeline.stop(...pipeline.stages);
    await requireEqual(pair.source, pair.target);
    // A service counts from its start, servers from when measuring began.
    const used = (stage: string): number => (after.processor[stage] ?? 0) - (before.processor[stage] ?? 0);
    const processor = { ...after.processor, ...Object.fromEntries(pipeline.stages.map((it) => [it, used(it)])) };
    const share = (pipeline.stages.reduce((sum, it) => sum + used(it), 0) / after.seconds) * 100;
    const figures = { ...after, processor };
    report({
      case: 'idle',
      variant: 'with a rule',
      unit: 'seconds',
      count: SECONDS,
      figures,
      more: { '% of a core': share },
    });
    await pipeline.teardown();
  },
};
