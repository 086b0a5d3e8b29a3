import { chmod, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import pg from 'pg';
import { expect, test } from 'vitest';
import { isRunning, type ProcessIdentity } from '#infra/process-identity.ts';
import { runCli } from '../harness/cli.ts';

interface Addresses {
  readonly kafka: string;
  readonly registry: string;
  readonly postgres: readonly string[];
}

/** The first start on a machine fetches the registry. */
const FIRST_START_MS = 240_000;

test(
  'dev up gives servers that answer, gives the same ones again, and dev down leaves nothing',
  async () => {
    const parent = await mkdtemp(path.join(tmpdir(), 'restage-dev-'));
    // PostgreSQL runs as another user where we are root, and has to reach its folder.
    await chmod(parent, 0o711);
    const dir = path.join(parent, 'servers');
    const up = ['dev', 'up', '--dir', dir, '--registry', '--postgres', '1', '--json'];
    try {
      const first = await runCli(up, {}, FIRST_START_MS);
      expect(first, first.stderr).toMatchObject({ code: 0 });
      const addresses = JSON.parse(first.stdout) as Addresses;
      await expectAnswers(addresses);
      const second = await runCli(up);
      expect(second, second.stderr).toMatchObject({ code: 0, stdout: first.stdout });
      expect(await runCli([...up, '--postgres', '2'])).toMatchObject({ code: 2, stdout: '' });

      const servers = await serversOf(dir);
      expect(servers.map(isRunning)).toEqual([true, true, true]);
      expect(await runCli(['dev', 'down', '--dir', dir])).toMatchObject({ code: 0, stdout: '3 stopped\n' });
      expect(servers.map(isRunning)).toEqual([false, false, false]);
      await expect(stat(dir)).rejects.toMatchObject({ code: 'ENOENT' });
      expect(await readdir(parent)).toEqual([]);
      expect(await runCli(['dev', 'down', '--dir', dir])).toMatchObject({ code: 0, stdout: 'nothing was running\n' });
    } finally {
      await runCli(['dev', 'down', '--dir', dir]);
      await rm(parent, { recursive: true, force: true });
    }
  },
  FIRST_START_MS + 60_000,
);

async function expectAnswers({ kafka, registry, postgres }: Addresses): Promise<void> {
  const admin = new Kafka({ brokers: kafka.split(','), logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  expect((await admin.describeCluster()).brokers).toHaveLength(1);
  await admin.disconnect();

  const schema = JSON.stringify({ type: 'record', name: 'Order', fields: [{ name: 'id', type: 'long' }] });
  const registered = await fetch(`${registry}/subjects/orders-value/versions`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
    body: JSON.stringify({ schema }),
  });
  const { id } = (await registered.json()) as { id: number };
  const found = (await (await fetch(`${registry}/schemas/ids/${id}`)).json()) as { schema: string };
  expect(JSON.parse(found.schema)).toEqual(JSON.parse(schema));

  const client = new pg.Client({ connectionString: postgres[0] });
  await client.connect();
  expect((await client.query('SHOW wal_level')).rows).toEqual([{ wal_level: 'logical' }]);
  await client.end();
}

async function serversOf(dir: string): Promise<ProcessIdentity[]> {
  const state = JSON.parse(await readFile(path.join(dir, 'dev.json'), 'utf8')) as { servers: ProcessIdentity[] };
  return state.servers;
}
