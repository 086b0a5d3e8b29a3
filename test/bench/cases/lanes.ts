import type { BenchCase } from '../bench-case.ts';
import { requireEqual } from '../equality.ts';
import { measure } from '../measure.ts';
import { loaded } from './drain.ts';
import { pgbenchWork } from './pgbench-work.ts';

const LANES = 4;
const VARIANTS = [
  { variant: 'whole transactions, one process', lanes: 0, sinks: 1 },
  { variant: 'four lanes, one process', lanes: LANES, sinks: 1 },
  { variant: 'four lanes, two processes', lanes: LANES, sinks: 2 },
  { variant: 'four lanes, four processes', lanes: LANES, sinks: 4 },
] as const;

/** What several sinks of one target gain (ordering: key): the same backlog in Kafka, applied while every other stage stands. */
export const lanes: BenchCase = {
  name: 'lanes',
  about:
    'a backlog of pgbench transactions that waits in Kafka, applied by one sink and by several that share the target',
  async run(servers, options, report) {
    for (const { variant, lanes: count, sinks } of VARIANTS) {
      await using pipeline = await loaded(servers, { ...options, lanes: count }, pgbenchWork, null, sinks);
      const { pair } = pipeline;
      const { changes, lsn } = await pgbenchWork.makeBacklog(pair.source, options);
      pipeline.start('producer');
      await pipeline.reach('producer', lsn);
      await pipeline.stop('producer');
      const finish = await measure(servers, () => pipeline.pids);
      pipeline.start('sink');
      await pipeline.reach('sink', lsn);
      const figures = await finish();
      await pipeline.stop('sink');
      await requireEqual(pair.source, pair.target);
      report({ case: 'lanes', variant, unit: 'changes', count: changes, figures });
      await pipeline.teardown();
    }
  },
};
