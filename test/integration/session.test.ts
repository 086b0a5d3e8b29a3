import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { readTable } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { createDatabase } from '../harness/database.ts';
import { setHostileDefaults } from '../harness/hostile-defaults.ts';

/** What decides how values print and read back, and what must not end a session. */
const PINNED = {
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  extra_float_digits: '3',
  bytea_output: 'hex',
  lc_monetary: 'C',
  xmloption: 'content',
  xmlbinary: 'base64',
  search_path: '',
  standard_conforming_strings: 'on',
  client_encoding: 'UTF8',
  quote_all_identifiers: 'off',
  array_nulls: 'on',
  transform_null_equals: 'off',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  application_name: 'restage test',
} as const;

describe.each([15, 18] as const)('a session of PostgreSQL %i', (version) => {
  test.each([false, true])(
    'says values alike whatever database, role and URL say (walsender: %s)',
    async (replication) => {
      await using database = await createDatabase(version, 'session');
      await setHostileDefaults(database);
      const url = new URL(database.url);
      url.searchParams.set('options', '-c datestyle=SQL -c search_path=public -c work_mem=5MB');
      url.searchParams.set('application_name', 'other');
      url.searchParams.set('client_encoding', 'LATIN1');
      url.searchParams.set('statement_timeout', '1234');
      const client = await connectPg({ url: url.href, purpose: 'source', application: 'restage test', replication });
      try {
        const { rows } = await client.query<{ name: keyof typeof PINNED; setting: string }>(
          `SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN (${Object.keys(PINNED)
            .map((name) => `'${name}'`)
            .join(', ')})`,
        );
        expect(Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))).toEqual(PINNED);
        const own = await client.query(
          `SELECT current_setting('work_mem') AS memory, current_setting('transaction_timeout', true) AS timeout`,
        );
        expect(own.rows).toEqual([{ memory: '5MB', timeout: version === 18 ? '0' : null }]);
      } finally {
        await client.end();
      }
    },
  );
});

test('a pipelined session sends queries before earlier ones are answered, a new name twice, and each fails alone', async () => {
  await using database = await createDatabase(15, 'pipelined');
  await database.client.query('CREATE TABLE public.paper (id int PRIMARY KEY)');
  const [{ oid } = { oid: 0 }] = (await database.client.query<{ oid: number }>(`SELECT 'public.paper'::regclass::oid`))
    .rows;
  await database.client.query('SELECT pg_advisory_lock(7)');
  const client = await connectPg({
    url: database.url,
    purpose: 'source',
    application: 'restage test',
    pipelined: true,
  });
  try {
    const first = client.query('SELECT pg_advisory_lock(7)');
    const sent = (client.connection.stream as Socket).bytesWritten;
    const others = Promise.allSettled([
      readTable(client, 'p', oid),
      readTable(client, 'p', oid),
      client.query('SELECT 1 / 0'),
      client.query('SELECT 1 AS one'),
    ]);
    expect((client.connection.stream as Socket).bytesWritten).toBeGreaterThan(sent);
    await database.client.query('SELECT pg_advisory_unlock(7)');
    await first;
    const table = expect.objectContaining({ table: 'paper', columns: [expect.objectContaining({ name: 'id' })] });
    expect(await others).toMatchObject([
      { value: [table] },
      { value: [table] },
      { reason: { code: '22012' } },
      { value: { rows: [{ one: 1 }] } },
    ]);
  } finally {
    await client.end();
  }
});
