import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Infrastructure } from '#infra/infrastructure.ts';
import { identifyProcess, isRunning, type ProcessIdentity } from '#infra/process-identity.ts';
import { type LaunchOptions, ServerProcesses } from '#infra/processes.ts';

let folder = '';
let records = '';

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'restage-processes-'));
  records = path.join(folder, 'servers');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function sleeper(outlivesUs: boolean): LaunchOptions {
  const dir = path.join(folder, 'run', 'sleeper');
  mkdirSync(dir, { recursive: true });
  return {
    name: 'a sleeper',
    command: 'sleep',
    args: ['300'],
    user: null,
    logFile: path.join(dir, 'server.log'),
    stopSignal: 'SIGTERM',
    killSignal: 'SIGKILL',
    temporaryDir: dir,
    outlivesUs,
  };
}

test('a stopped server leaves neither record nor folder', async () => {
  const server = new ServerProcesses(records).launch(sleeper(false));
  expect(server.isRunning()).toBe(true);
  await server.stop();
  expect(server.isRunning()).toBe(false);
  expect(readdirSync(records)).toEqual([]);
  expect(existsSync(path.join(folder, 'run'))).toBe(false);
});

test('clean-up leaves alone what a living process owns and what is meant to last', async () => {
  const processes = new ServerProcesses(records);
  const owned = processes.launch(sleeper(false));
  const lasting = processes.launch(sleeper(true));
  expect(await new ServerProcesses(records).cleanUp()).toEqual([]);
  expect([owned.isRunning(), lasting.isRunning()]).toEqual([true, true]);
  expect(await new ServerProcesses(records).stop(lasting.identity)).toBe(true);
  await processes.stopAll();
  expect(readdirSync(records)).toEqual([]);
});

test.each([
  ['SIGKILL', ['a sleeper']],
  ['SIGTERM', []],
] as const)('after %s to its owner nothing is left, at the latest by the next start', async (signal, cleanedUp) => {
  const server = await launchInChild(signal);
  expect(await new ServerProcesses(records).cleanUp()).toEqual(cleanedUp);
  expect(isRunning(server)).toBe(false);
  expect(existsSync(path.join(folder, 'run'))).toBe(false);
});

test('a process is known by when it began, too', () => {
  const us = identifyProcess(process.pid);
  expect(us !== null && isRunning(us)).toBe(true);
  expect(isRunning({ pid: process.pid, started: 'another time' })).toBe(false);
});

/** Another program launches the sleeper and is ended by `signal`. */
async function launchInChild(signal: NodeJS.Signals): Promise<ProcessIdentity> {
  const program = `
    import { exitOnSignals, ServerProcesses } from '#infra/processes.ts';
    exitOnSignals();
    const server = new ServerProcesses(${JSON.stringify(records)}).launch(${JSON.stringify(sleeper(false))});
    console.log(JSON.stringify(server.identity));
    setInterval(() => undefined, 1_000);`;
  const args = ['--import', 'tsx', '--input-type=module', '--eval', program];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise<string>((resolve) =>
    child.stdout.once('data', (data: Buffer) => resolve(data.toString())),
  );
  const ended = new Promise((resolve) => child.once('close', resolve));
  child.kill(signal);
  await ended;
  return JSON.parse(line) as ProcessIdentity;
}

test('a run that could start nothing leaves no folder', async () => {
  const infrastructure = await Infrastructure.open({ say: () => undefined, dir: path.join(folder, 'run') });
  await expect(infrastructure.startPostgres({ name: 'none', from: 'machine', major: 1 })).rejects.toMatchObject({
    code: 'component_missing',
  });
  expect(existsSync(infrastructure.dir)).toBe(false);
});
