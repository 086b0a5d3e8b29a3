import path from 'node:path';
import pg from 'pg';
import { quoteIdentifier } from '#core/table-name.ts';
import { Infrastructure } from '#infra/infrastructure.ts';
import { findPids, type ProcessGroup } from './process-figures.ts';

/** Kafka and two PostgreSQL servers on this machine, with their data in a folder that is removed. `await using` stops them. */
export interface BenchServers extends AsyncDisposable {
  readonly brokers: string;
  readonly binDir: string;
  readonly versions: string;
  /** A new, empty database of each server; those of an earlier case are dropped. */
  pair(name: string): Promise<DatabasePair>;
  readonly groups: Readonly<Record<'broker' | 'source' | 'target', ProcessGroup>>;
}

/** URLs of a superuser. */
export interface DatabasePair {
  readonly name: string;
  readonly source: string;
  readonly target: string;
}

/** What any server that replicates is told on a machine of this size; the rest is PostgreSQL's default, fsync included. */
const SETTINGS = {
  shared_buffers: '1GB',
  max_wal_size: '8GB',
  checkpoint_timeout: '30min',
  max_connections: '200',
  max_wal_senders: '20',
  logical_decoding_work_mem: '64MB',
};

/** With 512, which is enough for every other case, a broker ends while it makes 10,000 topics. */
const KAFKA_HEAP_MEGABYTES = 2048;

export async function startServers(say: (line: string) => void): Promise<BenchServers> {
  const infrastructure = await Infrastructure.open({ say, isBrief: true });
  const [kafka, source, target] = await Promise.all([
    infrastructure.startKafka({ heapMegabytes: KAFKA_HEAP_MEGABYTES }),
    infrastructure.startPostgres({ name: 'source', from: 'machine', settings: SETTINGS }),
    infrastructure.startPostgres({ name: 'target', from: 'machine', settings: SETTINGS }),
  ]);
  const dir = (name: string): string => path.join(infrastructure.dir, name);
  // The harness asks for servers by these names.
  process.env['RESTAGE_TEST_KAFKA'] = kafka.brokers;
  process.env['RESTAGE_TEST_PG15'] = source.url;
  process.env['RESTAGE_TEST_PG15_BIN'] = source.binDir ?? '';
  return {
    brokers: kafka.brokers,
    binDir: source.binDir ?? '',
    versions: `Kafka ${kafka.version}, PostgreSQL ${source.version}, Node ${process.versions.node}`,
    groups: {
      broker: await findPids(['kafka.Kafka', dir('kafka')]),
      source: await findPids([path.join(source.binDir ?? '', 'postgres'), dir('source')]),
      target: await findPids([path.join(target.binDir ?? '', 'postgres'), dir('target')]),
    },
    async pair(name) {
      await Promise.all([recreate(source.url, name), recreate(target.url, name)]);
      return { name, source: urlOf(source.url, name), target: urlOf(target.url, name) };
    },
    [Symbol.asyncDispose]: () => infrastructure.stop(),
  };
}

export async function query<T extends pg.QueryResultRow>(
  url: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<T[]> {
  const client = await connect(url);
  try {
    return (await client.query<T>(sql, [...values])).rows;
  } finally {
    await client.end();
  }
}

export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, application_name: 'restage bench' });
  // A server that stops while a case fails must not hide why.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function recreate(server: string, name: string): Promise<void> {
  const made = await query<{ name: string }>(
    server,
    `SELECT datname AS name FROM pg_database WHERE datname LIKE 'bench%'`,
  );
  for (const { name: database } of made) await drop(server, database);
  await query(server, `CREATE DATABASE ${quoteIdentifier(name)}`);
}

async function drop(server: string, name: string): Promise<void> {
  const slots = `SELECT slot_name AS slot FROM pg_replication_slots WHERE database = $1`;
  await query(server, 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name]);
  for (const { slot } of await query<{ slot: string }>(server, slots, [name]))
    await query(server, 'SELECT pg_drop_replication_slot($1)', [slot]);
  await query(server, `DROP DATABASE ${quoteIdentifier(name)} WITH (FORCE)`);
}

function urlOf(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}
