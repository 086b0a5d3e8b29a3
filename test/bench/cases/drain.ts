import type { BenchCase, BenchOptions } from '../bench-case.ts';
import type { BenchServers } from '../bench-servers.ts';
import { requireEqual } from '../equality.ts';
import { measure } from '../measure.ts';
import { BenchPipeline, currentLsn } from '../pipeline.ts';
import type { Report } from '../result.ts';
import type { Work } from '../work.ts';
import { pgbenchWork } from './pgbench-work.ts';

/** A backlog of pgbench's transactions, every service at work at once: what a catch-up after an outage takes. */
export const drain: BenchCase = {
  name: 'drain',
  about: 'a backlog of pgbench transactions from source to target, without and with a transformer',
  async run(servers, options, report) {
    await drainOnce(servers, options, { work: pgbenchWork, rule: null }, report);
    await drainOnce(servers, options, { work: pgbenchWork, rule: pgbenchWork.rule }, report);
  },
};

/** The same backlog, each stage by itself while the others stand: what a machine with more cores gets. */
export const stages: BenchCase = {
  name: 'stages',
  about: 'a backlog of pgbench transactions, each stage alone',
  async run(servers, options, report) {
    const { say } = options;
    await using pipeline = await loaded(servers, options, pgbenchWork, pgbenchWork.rule);
    const { pair } = pipeline;
    const { changes, lsn } = await pgbenchWork.makeBacklog(pair.source, options);
    for (const stage of pipeline.stages) {
      say(`${stage} alone …`);
      const finish = await measure(servers, () => pipeline.pids);
      pipeline.start(stage);
      await pipeline.reach(stage, lsn);
      const figures = await finish();
      await pipeline.stop(stage);
      report({ case: 'stages', variant: `${stage} alone`, unit: 'changes', count: changes, figures });
    }
    await requireEqual(pair.source, pair.target);
    await pipeline.teardown();
  },
};

export interface Drain {
  readonly work: Work;
  /** A rule, or several, as YAML; null: no transformer. */
  readonly rule: string | null;
  /** Throws where the target is not what it should be. Absent: where it is not what the source is. */
  readonly prove?: (pipeline: BenchPipeline) => Promise<void>;
}

export async function drainOnce(
  servers: BenchServers,
  options: BenchOptions,
  { work, rule, prove = ({ pair }) => requireEqual(pair.source, pair.target) }: Drain,
  report: Report,
): Promise<void> {
  await using pipeline = await loaded(servers, options, work, rule);
  const { pair } = pipeline;
  const { changes, lsn } = await work.makeBacklog(pair.source, options);
  const finish = await measure(servers, () => pipeline.pids);
  pipeline.start(...pipeline.stages);
  await pipeline.reach('sink', lsn);
  const figures = await finish();
  await pipeline.stop(...pipeline.stages);
  await prove(pipeline);
  const variant = rule === null ? 'without a transformer' : 'with a rule';
  report({ case: 'drain', variant: `${work.name}, ${variant}`, unit: 'changes', count: changes, figures });
  await pipeline.teardown();
}

/** A pipeline whose target has everything, its services stopped. */
export async function loaded(
  servers: BenchServers,
  options: BenchOptions,
  work: Work,
  rule: string | null,
  sinks = 1,
): Promise<BenchPipeline> {
  const pair = await servers.pair('bench_drain');
  await work.fill(pair.source, options);
  const { profiles, lanes } = options;
  const pipeline = await BenchPipeline.open(servers, pair, { rule, profiles, lanes, sinks });
  pipeline.start(...pipeline.stages);
  await pipeline.reach('sink', await currentLsn(pair.source));
  await pipeline.stop(...pipeline.stages);
  return pipeline;
}
