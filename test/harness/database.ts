import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { quoteIdentifier } from '#core/table-name.ts';
import { testPostgres } from './servers.ts';
import { until } from './until.ts';

/** A database of one test. `await using` drops it with its slots and sessions. */
export interface TestDatabase extends AsyncDisposable {
  readonly name: string;
  /** A superuser's. */
  readonly url: string;
  /** A superuser's session, its own types: int8 and numeric come as strings. */
  readonly client: pg.Client;
  /** The same database as another role sees it. */
  urlFor(role: string, password: string): string;
}

/** A new, empty database. */
export async function createDatabase(version: 15 | 18, label = 'test'): Promise<TestDatabase> {
  const server = testPostgres(version);
  const name = `${label}_${randomBytes(5).toString('hex')}`;
  await runOnce(server, `CREATE DATABASE ${quoteIdentifier(name)}`);
  const url = withDatabase(server, name);
  const client = await connect(url);
  return {
    name,
    url,
    client,
    urlFor: (role, password) => {
      const other = new URL(url);
      other.username = encodeURIComponent(role);
      other.password = encodeURIComponent(password);
      return other.href;
    },
    [Symbol.asyncDispose]: async () => {
      await client.end().catch(() => undefined);
      await dropDatabase(server, name);
    },
  };
}

/** Sessions first, for an active slot cannot be dropped; then slots, for a database with slots cannot be dropped. */
async function dropDatabase(server: string, name: string): Promise<void> {
  const admin = await connect(server);
  try {
    await until(
      async () => {
        await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name]);
        await admin.query(
          'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1 AND NOT active',
          [name],
        );
        const left = await admin.query('SELECT 1 FROM pg_replication_slots WHERE database = $1', [name]);
        return left.rowCount === 0;
      },
      { what: `slots of ${name} dropped` },
    );
    await admin.query(`DROP DATABASE IF EXISTS ${quoteIdentifier(name)} WITH (FORCE)`);
  } finally {
    await admin.end();
  }
}

async function runOnce(url: string, sql: string): Promise<void> {
  const client = await connect(url);
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** `await client.end()` is the caller's. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, application_name: 'restage test' });
  // Ending a session under test is not the test's failure; its next query is.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

function withDatabase(url: string, name: string): string {
  const other = new URL(url);
  other.pathname = `/${name}`;
  return other.href;
}
