import { expect, it } from 'vitest';
import type { CliEnvironment } from './environment.ts';
import { startKeeper } from './keeper-process.ts';
import { WATCHED } from './parent-watch.ts';

const KEPT = { name: '00000003-00000002-1', sees: 'ab', backend: 7 };

/** An environment in which this program is a few lines of script. */
function environment(script: string): { readonly cli: CliEnvironment; readonly said: string[] } {
  const said: string[] = [];
  const cli: CliEnvironment = {
    env: { ...process.env, ...WATCHED },
    out: () => undefined,
    err: (text) => said.push(text),
    isTerminal: false,
    canAsk: false,
    self: [process.execPath, '-e', script, '--'],
    signal: new AbortController().signal,
    setExitCode: () => undefined,
  };
  return { cli, said };
}

it('gives what the keeper says, which watches no parent and lives on in a group of its own', async () => {
  const { cli } = environment(`
    console.log(JSON.stringify({ ...${JSON.stringify(KEPT)}, pid: process.pid, env: process.env, args: process.argv.slice(1) }));
    setInterval(() => {}, 1000)`);
  const { pid, env, args, ...kept } = (await startKeeper(cli, '/shop.yaml', 'abc')) as typeof KEPT & {
    pid: number;
    env: Record<string, string>;
    args: string[];
  };
  try {
    expect(kept).toEqual(KEPT);
    expect(args).toEqual(['keeper', '-c', '/shop.yaml', '--snapshot', 'abc']);
    for (const name of Object.keys(WATCHED)) expect(env).not.toHaveProperty(name);
    // Throws where there is no group of this number.
    process.kill(-pid, 0);
  } finally {
    process.kill(pid, 'SIGKILL');
  }
});

it('says why when the keeper ends instead', async () => {
  const { cli, said } = environment(`console.error('why'); process.exit(3)`);
  await expect(startKeeper(cli, '/shop.yaml', 'abc')).rejects.toMatchObject({ code: 'component_missing' });
  expect(said.join('')).toBe('why\n');
});

it('fails where this program cannot be started', async () => {
  const { cli } = environment('');
  const missing = { ...cli, self: ['/nowhere/node', 'main.js'] };
  await expect(startKeeper(missing, '/shop.yaml', 'abc')).rejects.toMatchObject({ code: 'component_missing' });
});
