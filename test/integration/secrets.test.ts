import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli, type CliResult } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';

const SECRET = 'Xyzzy-42';
const ROLE = `secret_${process.pid}`;

let database: TestDatabase;
let folder: string;

beforeAll(async () => {
  database = await createDatabase(15, 'secrets');
  await database.client.query(`CREATE TABLE public.t (id int PRIMARY KEY)`);
  await database.client.query(`CREATE ROLE ${ROLE} LOGIN PASSWORD 'another'`);
  folder = await mkdtemp(path.join(tmpdir(), 'restage-secrets-'));
});

afterAll(async () => {
  await database.client.query(`DROP ROLE ${ROLE}`);
  await database[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('a password that is refused, and one for a server that is not there, are in no output at any level', async () => {
  const refused = database.urlFor(ROLE, SECRET);
  const absent = `postgresql://u:${SECRET}@127.0.0.1:1/t`;
  const config = await write('refused', refused, absent, '');
  for (const args of [
    ['check', '--json'],
    ['producer'],
    ['sink', '--target', 'new'],
    ['status'],
    ['verify', '--target', 'new'],
  ]) {
    const result = await restage(args, config);
    expect([result.code, result.stderr + result.stdout]).toEqual([
      expect.toSatisfy((code: number) => code >= 1),
      expect.stringMatching(/authentication|ECONNREFUSED/),
    ]);
    expectNoSecret(result);
  }
});

test('neither is the password for a Kafka that has no SASL', async () => {
  const sasl = `, sasl: { mechanism: PLAIN, username: u, password: "${SECRET}" }`;
  const config = await write('sasl', database.url, database.url, sasl);
  const result = await restage(['producer'], config);
  expect([result.code, result.stderr]).toEqual([
    expect.toSatisfy((code: number) => code >= 1),
    expect.stringMatching(/kafka_/),
  ]);
  expectNoSecret(result);
});

function restage(args: readonly string[], config: string): Promise<CliResult> {
  const [command = '', ...rest] = args;
  return runCli([command, '-c', config, ...rest], { RESTAGE_LOG: 'trace' });
}

function expectNoSecret({ stdout, stderr }: CliResult): void {
  expect(stdout).not.toContain(SECRET);
  expect(stderr).not.toContain(SECRET);
}

async function write(name: string, source: string, target: string, sasl: string): Promise<string> {
  const file = path.join(folder, `${name}.yaml`);
  await writeFile(
    file,
    `
name: secrets-${process.pid}
kafka: { brokers: ["${testKafka()}"]${sasl} }
source: { postgres: { url: "${source}" } }
targets: [{ name: new, postgres: { url: "${target}" } }]
`,
  );
  return file;
}
