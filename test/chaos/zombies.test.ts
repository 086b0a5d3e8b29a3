import { afterAll, beforeAll, expect, test } from 'vitest';
import { readConfig } from '../../services/cli/config-file.ts';
import { storeStructures } from '../../services/cli/schema-command.ts';
import { BankPipeline } from '../harness/chaos/bank-pipeline.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { signalProcess } from '../harness/service-processes.ts';
import { until } from '../harness/until.ts';

/** Longer than any session time-out: 10 s of a lease's session and of a group's member. */
const SILENCE_MS = 15_000;
const TAKEOVER_MS = 60_000;

/** Where each falls silent: in the middle of a Kafka transaction, and of the target's. Under load epochs are few: each holds many transactions. */
const STOPS = [
  ['producer', ['producer'], 'producer.stream.manifest=stop:20'],
  ['transformer', ['transformer'], 'transformer.stream.data=stop:20'],
  ['sink', ['sink', '--target', 'new'], 'sink.epoch.before=stop:20'],
] as const;

let source: TestDatabase;
let target: TestDatabase;

beforeAll(async () => {
  source = await createDatabase(15, 'zombies_source');
  target = await createDatabase(15, 'zombies_target');
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
});

test('a stand-by waits unseen, takes over from one that fell silent, and the silent one wakes up as stand-by', async () => {
  const addresses = { brokers: testKafka(), source: source.url, target: target.url };
  await using pipeline = await BankPipeline.open({
    name: source.name.replaceAll('_', '-'),
    services: addresses,
    test: addresses,
    seed: 12,
    fillers: 50,
    writePauseMs: 80,
  });
  await storeStructures(await readConfig(pipeline.config, {}));
  const started: CliProcess[] = [];
  const start = (args: readonly string[], failpoints: string): CliProcess => {
    const life = startCli([...args, '-c', pipeline.config], { RESTAGE_FAILPOINTS: failpoints });
    started.push(life);
    return life;
  };
  try {
    await pipeline.rest();
    const first = STOPS.map(([, args, failpoint]) => start(args, failpoint));
    await until(() => pipeline.isLoadDone(), { what: 'the load to be done', timeoutMs: 90_000 });
    const second = STOPS.map(([, args]) => start(args, ''));
    for (const life of second) await awaitStandby(life);
    expect(await pidsOf(pipeline.config)).toEqual(first.map(({ pid }) => pid));

    pipeline.goOn();
    await Promise.all(
      first.map((life, index) => life.output(new RegExp(`failpoint ${STOPS[index]?.[0]}.* stop`), 90_000)),
    );
    const silentSince = Date.now();
    await pipeline.arrive(TAKEOVER_MS);
    expect(await pidsOf(pipeline.config)).toEqual(second.map(({ pid }) => pid));
    await until(() => Date.now() - silentSince > SILENCE_MS, {
      what: 'the silence to be long',
      timeoutMs: SILENCE_MS * 2,
    });
    for (const { pid } of first) signalProcess(pid, 'SIGCONT');
    await Promise.all(first.map((life) => life.output(/an attempt failed and is made again/)));
    await pipeline.arrive();

    // The woken ones are sound: they take over in their turn.
    for (const { pid } of second) signalProcess(pid, 'SIGKILL');
    await pipeline.arrive(TAKEOVER_MS);
    expect(await pipeline.judge()).toEqual([]);
    for (const life of first) life.kill('SIGTERM');
    for (const life of first) expect(await life.result(12_000)).toMatchObject({ code: 0 });
  } catch (error) {
    const said = await Promise.all(
      started.map(async (life) => `${life.stderr().slice(-3_000)}${await statusOf(life)}`),
    );
    throw new Error(`the services said:\n${said.join('\n--- next ---\n')}`, { cause: error });
  } finally {
    for (const life of started) await life[Symbol.asyncDispose]();
  }
}, 300_000);

/** Process ids of producer, transformer and sink, as status tells of them. */
async function pidsOf(config: string): Promise<number[]> {
  const { stdout } = await runCli(['status', '-c', config, '--json']);
  return (JSON.parse(stdout) as { services: { pid: number }[] }).services.map(({ pid }) => pid);
}

async function awaitStandby(life: CliProcess): Promise<void> {
  const address = await addressOf(life);
  await until(async () => (await (await fetch(`${address}/status`)).text()).includes('"state":"standby"'), {
    what: `${address} to be stand-by`,
  });
}

async function addressOf(life: CliProcess): Promise<string> {
  const [, address = ''] = await life.output(/"address":"([^"]+)"/);
  return address;
}

/** What a service tells of itself at last; that it does not answer is told too. */
async function statusOf(life: CliProcess): Promise<string> {
  try {
    return await (await fetch(`${await addressOf(life)}/status`, { signal: AbortSignal.timeout(5_000) })).text();
  } catch (error) {
    return String(error);
  }
}
