import { BenchPipeline, currentLsn } from '../pipeline.ts';
import type { OpenPeer } from './peer.ts';

/** Restage as its peers are run: without a transformer, at its defaults. */
export const openRestage: OpenPeer = async (servers, pair) => {
  const pipeline = await BenchPipeline.open(servers, pair, { rule: null, profiles: null });
  return {
    name: 'Restage',
    settings: 'defaults: through Kafka, kept as history, exactly once',
    async load() {
      pipeline.start('producer', 'sink');
      await pipeline.reach('sink', await currentLsn(pair.source));
    },
    stop: () => pipeline.stop('producer', 'sink'),
    async drain(lsn) {
      pipeline.start('producer', 'sink');
      await pipeline.reach('sink', lsn);
    },
    async [Symbol.asyncDispose]() {
      await pipeline.stop('producer', 'sink');
      await pipeline.teardown();
      await pipeline[Symbol.asyncDispose]();
    },
  };
};
