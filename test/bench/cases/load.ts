import type { BenchCase, BenchOptions } from '../bench-case.ts';
import type { BenchServers } from '../bench-servers.ts';
import { requireEqual } from '../equality.ts';
import { measure } from '../measure.ts';
import { BenchPipeline, currentLsn } from '../pipeline.ts';
import type { Report } from '../result.ts';
import type { Work } from '../work.ts';
import { pgbenchWork } from './pgbench-work.ts';

/** The initial load of pgbench's tables: everything at once, then each stage alone. */
export const load: BenchCase = {
  name: 'load',
  about: 'initial load of pgbench through Kafka, together and each stage alone',
  async run(servers, options, report) {
    await loadTogether(servers, options, pgbenchWork, report);
    await alone(servers, options, report);
  },
};

/** One initial load by all services at once. */
export async function loadTogether(
  servers: BenchServers,
  options: BenchOptions,
  work: Work,
  report: Report,
): Promise<void> {
  const pair = await servers.pair('bench_load');
  await work.fill(pair.source, options);
  await using pipeline = await BenchPipeline.open(servers, pair, { rule: null, profiles: options.profiles });
  const lsn = await currentLsn(pair.source);
  const finish = await measure(servers, () => pipeline.pids);
  pipeline.start('producer', 'sink');
  await pipeline.reach('sink', lsn);
  const figures = await finish();
  await pipeline.stop('producer', 'sink');
  await requireEqual(pair.source, pair.target);
  report({ case: 'load', variant: `${work.name}, together`, unit: 'rows', count: work.rows(options), figures });
  await pipeline.teardown();
}

async function alone(servers: BenchServers, options: BenchOptions, report: Report): Promise<void> {
  const pair = await servers.pair('bench_load_alone');
  await pgbenchWork.fill(pair.source, options);
  await using pipeline = await BenchPipeline.open(servers, pair, { rule: null, profiles: options.profiles });
  const written = await measure(servers, () => pipeline.pids);
  pipeline.start('producer');
  await pipeline.reachEnd('producer');
  const producer = await written();
  const lsn = await currentLsn(pair.source);
  await pipeline.reach('producer', lsn);
  await pipeline.stop('producer');
  const read = await measure(servers, () => pipeline.pids);
  pipeline.start('sink');
  await pipeline.reach('sink', lsn);
  const sink = await read();
  await pipeline.stop('sink');
  await requireEqual(pair.source, pair.target);
  const rows = pgbenchWork.rows(options);
  report({ case: 'load', variant: 'producer alone', unit: 'rows', count: rows, figures: producer });
  report({ case: 'load', variant: 'sink alone', unit: 'rows', count: rows, figures: sink });
  await pipeline.teardown();
}
