import { expect } from 'vitest';
import { runCli, type CliProcess } from './cli.ts';

/** Until everything committed so far has arrived at target `new`; fails at once when the run ends before. */
export async function waitForTarget(config: string, run: CliProcess): Promise<void> {
  const ended = run.result(120_000).then((result) => {
    throw new Error(`the run ended with ${result.code}:\n${result.stdout}${result.stderr}`);
  });
  ended.catch(() => undefined);
  const wait = runCli(['wait', '-c', config, '--target', 'new', '--timeout', '90'], {}, 110_000);
  wait.catch(() => undefined);
  const waited = await Promise.race([wait, ended]);
  expect(waited, run.stdout() + run.stderr()).toMatchObject({ code: 0 });
}

/** A drain. */
export async function stopRun(run: CliProcess): Promise<void> {
  run.kill('SIGTERM');
  expect(await run.result(15_000)).toMatchObject({ code: 0 });
}
