import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { CliEnvironment } from './environment.ts';
import { makeProgram, runProgram } from './program.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'restage-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

const GOOD = `
name: shop
kafka: { brokers: ["127.0.0.1:1"] }
source: { postgres: { url: "postgresql://u:topsecret@127.0.0.1:1/s" } }
targets: [{ name: new, postgres: { url: "postgresql://u:topsecret@127.0.0.1:1/t" } }]
`;

function write(name: string, text: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const result = { code: 0, out: '', err: '' };
  const cli: CliEnvironment = {
    env: { RESTAGE_LOG: 'silent' },
    out: (text) => {
      result.out += text;
    },
    err: (text) => {
      result.err += text;
    },
    isTerminal: false,
    self: [],
    signal: new AbortController().signal,
    setExitCode: (code) => {
      result.code = code;
    },
  };
  await runProgram(makeProgram(cli, '1.2.3'), args, cli);
  return result;
}

test('help and version are no errors', async () => {
  expect(await run('--version')).toEqual({ code: 0, out: '1.2.3\n', err: '' });
  const help = await run('--help');
  expect(help.code).toBe(0);
  for (const name of [
    'check',
    'run',
    'producer',
    'transformer',
    'sink',
    'status',
    'wait',
    'verify',
    'pause',
    'resume',
    'schema',
    'sequences',
    'dev',
    'demo',
  ]) {
    expect(help.out).toMatch(new RegExp(`^ {2}${name} `, 'm'));
  }
});

test('wrong usage is exit 2, said once', async () => {
  const wrong = await run('stauts');
  expect(wrong.code).toBe(2);
  expect(wrong.err.match(/unknown command/g)).toHaveLength(1);
  expect(wrong.err).toContain('status');
  expect((await run('wait', '--target', 'new')).code).toBe(2);
  expect((await run('wait', '-c', write('a.yaml', GOOD), '--target', 'new', '--lsn', 'soon')).code).toBe(2);
  expect((await run('wait', '-c', write('a.yaml', GOOD), '--target', 'new', '--timeout', '-1')).code).toBe(2);
});

test('a wrong configuration is exit 2 with the place and the nearest key', async () => {
  const file = write('bad.yaml', GOOD.replace('targets', 'tragets'));
  const bad = await run('status', '-c', file, '--json');
  expect(bad).toMatchObject({ code: 2, out: '' });
  expect(bad.err).toContain(`${file}:5:1: unknown key "tragets"; did you mean "targets"?`);
  expect((await run('status', '-c', path.join(folder, 'none.yaml'))).code).toBe(2);
});

test('an unknown target names the nearest one', async () => {
  const unknown = await run('sink', '-c', write('a.yaml', GOOD), '--target', 'nwe');
  expect(unknown).toMatchObject({ code: 2, out: '' });
  expect(unknown.err).toContain('did you mean "new"?');
});

test('a transformer without outputs is wrong usage', async () => {
  expect((await run('transformer', '-c', write('a.yaml', GOOD))).code).toBe(2);
});

test('unreachable is exit 3 and no message holds a password', async () => {
  const away = await run('sequences', '-c', write('a.yaml', GOOD), '--target', 'new');
  expect(away.code).toBe(3);
  expect(away.err).toContain('source_unreachable');
  expect(away.err).not.toContain('topsecret');
});

test.each([
  'mysql://u:topsecret@h/d',
  'postgresql:/u:topsecret@h/d',
  'postgresql://u:topsecret@h:port/d',
  'u:topsecret@h/d',
])('what is said of an address that is none holds no password: %#', async (url) => {
  const file = write('address.yaml', GOOD.replace('postgresql://u:topsecret@127.0.0.1:1/s', url));
  const said = await run('sequences', '-c', file, '--target', 'new');
  expect(said.code).toBe(2);
  expect(said.err).toContain('postgresql://');
  expect(said.err + said.out).not.toContain('topsecret');
});

test('wait gives exit 1 on time-out, with one JSON document', async () => {
  const late = await run(
    'wait',
    '-c',
    write('a.yaml', GOOD),
    '--target',
    'new',
    '--lsn',
    '0/10',
    '--timeout',
    '0.2',
    '--json',
  );
  expect(late.code).toBe(1);
  expect(JSON.parse(late.out)).toMatchObject({ target: 'new', lsn: '0/10', reached: false, through: null });
});
