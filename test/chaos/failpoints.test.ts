import { afterAll, beforeAll, expect, test } from 'vitest';
import { FAILPOINTS } from '#core/failpoints.ts';
import { readConfig } from '../../services/cli/config-file.ts';
import { storeStructures } from '../../services/cli/schema-command.ts';
import { BankPipeline } from '../harness/chaos/bank-pipeline.ts';
import { SweptService } from '../harness/chaos/swept-service.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { runCli } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';

/** Only where session_replication_role is refused, or dead letters are: least-privilege.test.ts and dead-letters.test.ts (e2e) kill there; and replay.test.ts, and cutover.test.ts, and ordering-key.test.ts. */
const ELSEWHERE = [
  'switch',
  'sink.takeAway',
  'finish.take',
  'sink.enable',
  'finish.end',
  'sink.relay',
  'sink.spread',
  'sink.lane',
  'dlq',
  'replay',
];

/**
 * In the order of a pipeline's life, so that each is reached by the life that the one before left. `:n` is the hit. Topics are made beside the
 * load only until a life has written the plan: `plan.after` is among the late ones.
 */
const PRODUCER = {
  short:
    'intent.data slot.after origin.manifest keeper.after tableTopics.after chunk.manifest:2 tableEnd.after end.manifest stream.data stream.after:2 part.manifest part.after confirm.before',
  long: `topics.before topics.after open.before open.after publication.before publication.after intent.* slot.before slot.after
    slotDrop.before slotDrop.after origin.* keeper.* plan.before plan.data plan.manifest tableTopics.after chunk.before chunk.data:2 chunk.manifest:2 chunk.after:2 tableEnd.before tableEnd.data
    tableEnd.manifest tableEnd.after:2 tableEnd.after end.* stream.*:2 part.* part.manifest:2 part.after:2 confirm.before confirm.after`,
};
const TRANSFORMER = {
  short: 'chunk.after:2 part.after stream.manifest:2',
  long: `topics.before topics.after open.before open.after outputTopics.before outputTopics.after plan.* chunk.*:2 tableEnd.*:2 end.*
    stream.*:2 part.*`,
};
const SINK = {
  short:
    'preData.before state.after plan.before chunk.after:2 tableEnd.before key.before startStream.after validate.after finishLoad.before epoch.before:2 epoch.after part.after',
  long: `topics.before topics.after takeover.before takeover.after preData.* state.* begin.* plan.* chunk.*:2 tableEnd.*:2 index.* key.*:2
    analyze.*:2 startStream.* foreignKey.* validate.* trigger.* refresh.* finishLoad.* epoch.*:2 part.* part.after:2`,
};
/** While nothing is written, so that only heartbeats move the position. */
const AT_REST = { short: 'empty.manifest', long: 'empty.*' };
const SINK_AT_REST = { short: 'empty.before', long: 'empty.*' };

/** While tables are loaded again. */
const PRODUCER_LATE = {
  short: 'announce.after lateSlot.before',
  long: 'latePublication.* announce.* lateRequest.* lateSlot.* plan.after chunk.after tableEnd.after end.after',
};
const TRANSFORMER_LATE = {
  short: 'announce.after',
  long: 'announce.* chunk.after tableEnd.after end.after stream.after',
};
const SINK_LATE = {
  short: 'announce.after exchange.before',
  long: 'announce.* newTable.* shadow.* chunk.after tableEnd.* lateLoaded.* exchange.*',
};

let source: TestDatabase;
let target: TestDatabase;

beforeAll(async () => {
  source = await createDatabase(15, 'failpoints_source');
  target = await createDatabase(15, 'failpoints_target');
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
});

test(
  'killed at any step that changes durable state, each service comes back, and nothing is lost, doubled or torn',
  async () => {
    const addresses = { brokers: testKafka(), source: source.url, target: target.url };
    await using pipeline = await BankPipeline.open({
      name: source.name.replaceAll('_', '-'),
      services: addresses,
      test: addresses,
      seed: 11,
      fillers: 50,
      // The long form takes minutes, in most of which the transformer waits for its group's session of 10 s to end.
      writePauseMs: isLongRun() ? 300 : 100,
    });
    const run = { config: pipeline.config };
    await storeStructures(await readConfig(pipeline.config, {}));
    await using producer = new SweptService('producer', ['producer', '-c', run.config]);
    await using transformer = new SweptService('transformer', ['transformer', '-c', run.config]);
    await using sink = new SweptService('sink', ['sink', '-c', run.config, '--target', 'new']);
    const services = [producer, transformer, sink];
    const length = isLongRun() ? 'long' : 'short';

    try {
      await together(services, [
        producer.sweep(PRODUCER[length]),
        transformer.sweep(TRANSFORMER[length]),
        sink.sweep(SINK[length]),
      ]);
      await pipeline.arrive();
      await pipeline.rest();
      await together(services, [
        producer.sweep(AT_REST[length]),
        transformer.sweep(AT_REST[length]),
        sink.sweep(SINK_AT_REST[length]),
      ]);
      pipeline.goOn();
      await source.client.query('CREATE TABLE public.fresh (id int PRIMARY KEY)');
      const asked = ['public.bank', 'public.doc'].flatMap((table) => ['--table', table]);
      expect(await runCli(['snapshot', '-c', run.config, '--yes', ...asked])).toMatchObject({ code: 0 });
      await together(services, [
        producer.sweep(PRODUCER_LATE[length]),
        transformer.sweep(TRANSFORMER_LATE[length]),
        sink.sweep(SINK_LATE[length]),
      ]);

      expect(await pipeline.judge()).toEqual([]);
      for (const service of services) expect(await service.drain()).toMatchObject({ code: 0 });
      const met = new Set(services.flatMap(({ met: own }) => [...own]));
      const own = FAILPOINTS.filter((name) => !ELSEWHERE.some((step) => name.startsWith(step)));
      expect(own.filter((name) => !met.has(name))).toEqual([]);
    } catch (error) {
      throw new Error(services.map((service) => service.lastWords()).join('\n'), { cause: error });
    }
  },
  isLongRun() ? 1_800_000 : 420_000,
);

/** The first failure ends the other services too: they could wait for ever for what no longer comes. */
async function together(services: readonly SweptService[], sweeps: readonly Promise<void>[]): Promise<void> {
  const guarded = sweeps.map((sweep) =>
    sweep.catch((error: unknown) => {
      for (const service of services) service.giveUp();
      throw error;
    }),
  );
  const ends = await Promise.allSettled(guarded);
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}
