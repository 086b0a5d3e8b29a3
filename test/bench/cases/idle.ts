import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchCase } from '../bench-case.ts';
import { requireEqual } from '../equality.ts';
import { measureOnwards } from '../measure.ts';
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
    const finish = await measureOnwards(servers, () => pipeline.pids);
    await sleep(SECONDS * 1000);
    const figures = await finish();
    await pipeline.stop(...pipeline.stages);
    await requireEqual(pair.source, pair.target);
    const used = pipeline.stages.reduce((sum, stage) => sum + (figures.processor[stage] ?? 0), 0);
    const share = (used / figures.seconds) * 100;
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
