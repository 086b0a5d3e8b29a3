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

interface Said {
  code: number;
  out: string;
  err: string;
}

function sayInto(result: Said): CliEnvironment {
  return {
    env: { RESTAGE_LOG: 'silent' },
    out: (text) => {
      result.out += text;
    },
    err: (text) => {
      result.err += text;
    },
    isTerminal: false,
    canAsk: false,
    self: [],
    signal: new AbortController().signal,
    setExitCode: (code) => {
      result.code = code;
    },
  };
}

async function run(...args: string[]): Promise<Said> {
  const result = { code: 0, out: '', err: '' };
  await runProgram(sayInto(result), '1.2.3', args);
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

test('every command is found by its own name, without the others', async () => {
  const cli = sayInto({ code: 0, out: '', err: '' });
  const all = (await makeProgram(cli, '1.2.3', [])).commands.map((command) => command.name());
  expect(all.length).toBeGreaterThan(30);
  for (const name of all) {
    const loaded = (await makeProgram(cli, '1.2.3', [name])).commands.map((command) => command.name());
    expect(loaded).toContain(name);
    expect(loaded.length).toBeLessThanOrEqual(2);
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

test.each([
  [[], ['Usage: restage']],
  [['runn'], ['unknown command', 'Did you mean run?']],
  [['run'], ["required option '-c, --config <file>' not specified"]],
  [
    ['run', '-c', '/no/such/file.yaml'],
    ['config_invalid', '/no/such/file.yaml', 'there is no such file'],
  ],
  [
    ['run', '-c', '/'],
    ['config_invalid', 'it cannot be read'],
  ],
  [
    ['check', '-c', 'FILE', '--jsn'],
    ["unknown option '--jsn'", '--json'],
  ],
  [
    ['sink', '-c', 'FILE', '--target', 'a/b'],
    ['usage', 'no target is named "a/b"'],
  ],
  [
    ['schema', 'copy', '-c', 'FILE', '--target', 'new', '--section', 'data'],
    ["'data' is invalid", 'pre-data, post-data'],
  ],
  [['run', '-c', 'FILE', 'again'], ['too many arguments']],
] as const)('restage %j is wrong usage', async (args, says) => {
  const file = write('a.yaml', GOOD);
  const { code, err } = await run(...args.map((arg) => (arg === 'FILE' ? file : arg)));
  expect(code, err).toBe(2);
  for (const part of says) expect(err).toContain(part);
});

test.each([
  [
    'an unknown key',
    GOOD.replace('postgres:', 'postgers:'),
    '4:11: unknown key "postgers" in source; did you mean "postgres"?',
  ],
  ['broken YAML', GOOD.replace('}]', '}'), '6:1: '],
  ['an unset variable', GOOD.replace('u:topsecret', '${NO_SUCH}'), '4:28: the environment variable NO_SUCH is not set'],
  ['a URL that is none', GOOD.replace('u:topsecret', 'u:topsecret#'), '4:28: source.postgres.url: it is not a URL'],
  ['a port beyond all', GOOD.replace('1:1/s', '1:99999/s'), '4:28: source.postgres.url: it is not a URL'],
] as const)('%s in the configuration is exit 2 for every command, with its place', async (_name, text, says) => {
  const file = write('wrong.yaml', text);
  for (const command of ['run', 'producer', 'transformer', 'check', 'status', 'pause', 'resume']) {
    const { code, out, err } = await run(command, '-c', file);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(`${file}:${says}`);
    expect(err).not.toContain('topsecret');
  }
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
