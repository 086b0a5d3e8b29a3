import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { readLastManifest } from '#adapters/kafka/last-manifest.ts';
import { identifySource } from '#adapters/postgres/source/source-identity.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { loadConfig } from '#core/config-load.ts';
import type { Config } from '#core/config.ts';
import { MANIFEST_FORMAT, parseManifest } from '#core/manifest.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { deleteTopic, openAdmin } from '../harness/kafka-admin.ts';
import { restoreTopics, type KeptTopics } from '../harness/kept-topics.ts';
import { startService } from '../harness/run-service.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

/** What versions with manifests of these forms left when they were killed: made by test/fixtures/make-old-state.ts. */
describe.each([1, 2])('what a version with manifests of form %i left', (form) => {
  const name = `kept-state-${form}`;
  const databases: TestDatabase[] = [];
  let kept: KeptTopics;
  let pool: ConnectionPool;
  let source: TestDatabase;

  beforeAll(async () => {
    kept = JSON.parse((await read('topics.json')).toString()) as KeptTopics;
    await using admin = await openAdmin();
    const there = (await admin.listTopics()).filter((topic) => topic.startsWith(`${name}.`));
    for (const topic of there) await deleteTopic(admin, topic);
    pool = createConnectionPool(config([]).kafka, { clientId: 'kept', logger: pino({ level: 'silent' }) });
    await restoreTopics(kept, pool);
    source = await restore('source');
  });

  afterAll(async () => {
    await pool.close();
    for (const database of databases) await database[Symbol.asyncDispose]();
  });

  async function read(file: string): Promise<Buffer> {
    return gunzipSync(await readFile(new URL(`../fixtures/state-${form}/${file}.gz`, import.meta.url)));
  }

  /** Kept rows and state; empty without a file. */
  async function restore(file: string | null): Promise<TestDatabase> {
    const database = await createDatabase(15, 'kept');
    databases.push(database);
    if (file !== null) await database.client.query((await read(`${file}.sql`)).toString());
    await database.client.query('RESET ALL');
    return database;
  }

  function config(
    targets: readonly [string, TestDatabase][],
    more = '',
    url = source?.url ?? 'postgresql://nobody@127.0.0.1:1/none',
  ): Config {
    const lines = targets.map(
      ([target, database]) => `  - { name: ${target}, postgres: { url: "${database.url}" }, schema: create }`,
    );
    const text = `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${url}" }, heartbeatMs: 500 }
${more}
targets:
${lines.length === 0 ? '  - { name: none, postgres: { url: "postgresql://nobody@127.0.0.1:1/none" } }' : lines.join('\n')}
`;
    return loadConfig(text, 'kept.yaml', {});
  }

  function output(version: number): string {
    return `transform:
  outputs:
    - name: main
      version: ${version}
      rules:
        - table: public.account
          rename: public.person
          columns: { rename: { owner: name } }
          where: "balance >= 2"`;
  }

  test('is of that form', async () => {
    const manifests = kept.writes
      .flatMap(({ records }) => records)
      .filter(({ topic }) => topic.endsWith('.epochs'))
      .map(({ value }) => parseManifest(Buffer.from(value ?? '', 'base64'), name).format);
    expect(new Set(manifests)).toEqual(new Set([form]));
    expect(form).toBeLessThan(MANIFEST_FORMAT);
  });

  test.each(['loading', 'streaming'])('a sink that was killed while %s goes on and ends equal', async (target) => {
    const database = await restore(target);
    const before = await findDifferences(source.url, database.url);
    expect(before).not.toEqual([]);
    await using sink = startService('sink', config([[target, database]]), target);
    await sink.streaming();
    await until(async () => (await findDifferences(source.url, database.url)).length === 0, {
      what: `${target} equal`,
    });
  });

  test('a transformer and its sink go on, and another version of the output is made from the old epochs', async () => {
    const [shaped, anew] = [await restore('shaped'), await restore(null)];
    for (const [database, version] of [
      [shaped, 1],
      [anew, 2],
    ] as const) {
      const settings = config([['shaped', database]], output(version));
      await using transformer = startService('transformer', settings, 'main');
      await using sink = startService('sink', settings, 'shaped');
      await Promise.all([transformer.streaming(), sink.streaming()]);
      const last = await readLastManifest(pool, name);
      await until(() => sink.status.through === last?.manifest.through, { what: `version ${version} to the end` });
      const rows = async ({ client }: TestDatabase, sql: string): Promise<unknown> => (await client.query(sql)).rows;
      expect(await rows(database, 'SELECT id, name, balance FROM public.person ORDER BY id')).toEqual(
        await rows(source, 'SELECT id, owner AS name, balance FROM public.account WHERE balance >= 2 ORDER BY id'),
      );
      for (const table of ['public.wide', 'public.heap']) {
        const sql = `SELECT t::text FROM ${table} t ORDER BY 1`;
        expect(await rows(database, sql)).toEqual(await rows(source, sql));
      }
    }
  });

  test('a producer that was killed at its birth goes on: with no slot yet, an older form than ours explains it', async () => {
    const fresh = await restore('source');
    const target = await restore(null);
    const session = await connectPg({ url: fresh.url, purpose: 'source', application: 'kept', replication: true });
    const { systemId, timeline } = await identifySource(session);
    await session.end();
    const [intent] = kept.writes.flatMap(({ records }) => records).filter(({ topic }) => topic === `${name}.epochs`);
    const manifest = parseManifest(Buffer.from(intent?.value ?? '', 'base64'), name);
    expect(manifest.kind).toBe('intent');
    // The server that it was written for is gone; a position of an older one stays.
    const born = { ...manifest, systemId, timeline, through: '0/1' };
    const settings = { ...config([['new', target]], '', fresh.url), name: `${name}-born-${Date.now()}` };
    const topic = `${settings.name}.epochs`;
    const record = { topic, offset: '0', key: intent?.key ?? null, value: encode(born), headers: {} };
    await restoreTopics(
      { topics: [{ name: topic, compacted: false }], writes: [{ end: 'commit', topics: [topic], records: [record] }] },
      pool,
    );
    await using producer = startService('producer', settings);
    await using sink = startService('sink', settings, 'new');
    await Promise.all([producer.streaming(), sink.streaming()]);
    await fresh.client.query('DELETE FROM public.heap');
    await until(async () => (await findDifferences(fresh.url, target.url)).length === 0, { what: 'the target equal' });
  });
});

function encode(json: unknown): string {
  return Buffer.from(JSON.stringify(json)).toString('base64');
}
