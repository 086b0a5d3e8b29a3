import { BenchPipeline, currentLsn } from '../pipeline.ts';
import type { OpenPeer } from './peer.ts';

/** Restage at its defaults; `rule` null: without a transformer, as its peers are run. */
export const openRestage =
  (rule: string | null): OpenPeer =>
  async (servers, pair) => {
    const pipeline = await BenchPipeline.open(servers, pair, { rule, profiles: null });
    return {
      name: rule === null ? 'Restage' : 'Restage with a rule',
      settings: 'defaults: through Kafka, kept as history, exactly once',
      async load() {
        pipeline.start(...pipeline.stages);
        await pipeline.reach('sink', await currentLsn(pair.source));
      },
      stop: () => pipeline.stop(...pipeline.stages),
      async drain(lsn) {
        pipeline.start(...pipeline.stages);
        await pipeline.reach('sink', lsn);
      },
      async [Symbol.asyncDispose]() {
        await pipeline.stop(...pipeline.stages);
        await pipeline.teardown();
        await pipeline[Symbol.asyncDispose]();
      },
    };
  };
