import { pgbench } from '../../harness/pgbench.ts';
import type { BenchCase } from '../bench-case.ts';
import { requireEqual } from '../equality.ts';
import { makeProbeTable, probeLatency } from '../latency-probe.ts';
import { readStageLatencies } from '../latency-stages.ts';
import { measureOnwards } from '../measure.ts';
import { BenchPipeline, currentLsn } from '../pipeline.ts';
import { pgbenchWork } from './pgbench-work.ts';

const TRANSACTIONS_PER_SECOND = 1_000;
const SECONDS = 30;
const CHANGES_PER_TRANSACTION = 4;

/** From a commit at the source to a row that others see at the target, with a transformer, beside a steady load. */
export const latency: BenchCase = {
  name: 'latency',
  about: `from a commit to its being seen, through a transformer, at ${TRANSACTIONS_PER_SECOND} pgbench transactions a second`,
  async run(servers, options, report) {
    const pair = await servers.pair('bench_latency');
    await pgbenchWork.fill(pair.source, options);
    await makeProbeTable(pair.source);
    await using pipeline = await BenchPipeline.open(servers, pair, {
      rule: pgbenchWork.rule,
      profiles: options.profiles,
    });
    pipeline.start(...pipeline.stages);
    await pipeline.reach('sink', await currentLsn(pair.source));
    const finish = await measureOnwards(servers, () => pipeline.pids);
    const rate = String(TRANSACTIONS_PER_SECOND);
    await using load = pgbench(pair.source, ['-n', '-c', '4', '-j', '1', '-R', rate, '-T', String(SECONDS)]);
    const { p50Ms, p99Ms, maxMs, steady, probes, seenAt } = await probeLatency(pair, SECONDS);
    await load.ended;
    const figures = await finish();
    await pipeline.reach('sink', await currentLsn(pair.source));
    await pipeline.stop(...pipeline.stages);
    await requireEqual(pair.source, pair.target);
    const count = TRANSACTIONS_PER_SECOND * SECONDS * CHANGES_PER_TRANSACTION + probes;
    const stages = await readStageLatencies(pipeline.prefixes, { seenAt });
    const warm = { 'p50 ms after 5 s': steady.p50Ms, 'p99 ms after 5 s': steady.p99Ms };
    const more = { 'p50 ms': p50Ms, 'p99 ms': p99Ms, 'max ms': maxMs, ...warm, ...stages };
    report({ case: 'latency', variant: 'with a rule', unit: 'changes', count, figures, more });
    await pipeline.teardown();
  },
};
