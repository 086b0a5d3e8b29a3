import { afterAll, beforeAll, expect, test } from 'vitest';
import { pause } from '#core/backoff.ts';
import { BankPipeline } from '../harness/chaos/bank-pipeline.ts';
import { makeFault } from '../harness/chaos/faults.ts';
import { chaosSeconds, chaosSeed, isLongRun } from '../harness/chaos/long-run.ts';
import { StormServers } from '../harness/chaos/storm-servers.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { SeededRandom } from '../harness/random.ts';
import { servicesOf, signalProcess } from '../harness/service-processes.ts';

const SECONDS = chaosSeconds(14);
const SEED = chaosSeed(7);
/** In the long run links stay spoilt for longer than a lease lives. */
const LONGEST_FAULT_MS = isLongRun() ? 15_000 : 4_000;
/** In the long run a whole second set of services waits as stand-by. */
const RUNS = isLongRun() ? 2 : 1;

let servers: StormServers;

beforeAll(async () => {
  servers = await StormServers.open(SEED);
});

afterAll(async () => {
  await servers[Symbol.asyncDispose]();
});

test(
  `through ${SECONDS} s of faults (seed ${SEED}) in load and stream nothing is lost, doubled or torn`,
  async () => {
    await using pipeline = await BankPipeline.open({
      name: 'storm',
      services: servers.linked,
      test: servers.direct,
      seed: SEED,
      fillers: 1_000,
      writePauseMs: isLongRun() ? 30 : 80,
    });
    const runs: CliProcess[] = [];
    const faults: string[] = [];
    try {
      for (let count = 0; count < RUNS; count += 1) {
        const run = startCli(['run', '-c', pipeline.config], { RESTAGE_LOG: 'info' });
        runs.push(run);
        await run.output(/sink new started/);
      }
      const random = new SeededRandom(SEED);
      const scene = {
        servers,
        runs: runs.map(({ pid }) => pid),
        config: pipeline.config,
        random,
        longestMs: LONGEST_FAULT_MS,
      };
      // First while it loads, which restarts may keep from ending; then, the load done, in the stream.
      for (let phase = 1; phase <= 2; phase += 1) {
        const until = Date.now() + (SECONDS / 2) * 1_000;
        while (Date.now() < until) {
          await pause(random.between(100, 3_000));
          const began = new Date().toISOString();
          faults.push(`${began} ${await makeFault(scene)}`);
        }
        await servers.awaitReady();
        await pipeline.arrive();
      }
      expect(await pipeline.judge()).toEqual([]);
      for (const run of runs) run.kill('SIGTERM');
      for (const run of runs) expect(await run.result(15_000)).toMatchObject({ code: 0, signal: null });
    } catch (error) {
      const said = runs.map((run) => run.stderr().slice(-6_000)).join('\n--- the other run ---\n');
      const status = await runCli(['status', '-c', pipeline.config, '--json']);
      throw new Error(
        `with RESTAGE_CHAOS_SEED=${SEED}, after\n${faults.join('\n')}\nthe services said:\n${said}\n` +
          `their status: ${status.stdout}${status.stderr}\nthe servers said:\n${servers.lastWords()}`,
        { cause: error },
      );
    } finally {
      for (const run of runs) {
        for (const { pid } of await servicesOf(run.pid, pipeline.config)) signalProcess(pid, 'SIGKILL');
        await run[Symbol.asyncDispose]();
      }
    }
  },
  (SECONDS + 300) * 1_000,
);
