import { startConnectWorker } from '../../harness/connect-worker.ts';
import { until } from '../../harness/until.ts';
import { connect, type DatabasePair } from '../bench-servers.ts';
import { copyStructure } from './copy-structure.ts';
import type { OpenPeer } from './peer.ts';

const STEP_MS = 1_800_000;
/** The sink's key is the record's, so what has none cannot be kept equal: it is left out, of the proof too. */
export const WITHOUT_KEY = 'pgbench_history';

/** Debezium 3.5 from PostgreSQL to Kafka, its JDBC sink from there, in one worker of Kafka Connect. */
export const openDebezium: OpenPeer = async (servers, pair) => {
  await copyStructure(servers.binDir, pair);
  const worker = await startConnectWorker();
  const [source, target] = [await connect(pair.source), await connect(pair.target)];
  const marker = 'CREATE TABLE IF NOT EXISTS public.bench_marker (id int PRIMARY KEY, at int NOT NULL)';
  for (const client of [source, target]) await client.query(marker);
  await source.query('INSERT INTO public.bench_marker VALUES (1, 0) ON CONFLICT DO NOTHING');
  let mark = 0;
  /** One partition a table, so the marker's row tells only of the marker's topic: every table's last row is asked for. */
  const reached = async (): Promise<void> => {
    mark += 1;
    await source.query('UPDATE public.bench_marker SET at = $1', [mark]);
    await until(
      async () => (await target.query('SELECT FROM public.bench_marker WHERE at = $1', [mark])).rowCount === 1,
      {
        what: 'the marker to arrive',
        timeoutMs: STEP_MS,
      },
    );
    await until(async () => (await sums(source)) === (await sums(target)), {
      what: 'the sums to be equal',
      timeoutMs: STEP_MS,
    });
  };
  const sink = (): Promise<void> => worker.add(`${pair.name}_sink`, sinkOptions(pair));
  const reader = (): Promise<void> => worker.add(`${pair.name}_source`, sourceOptions(pair));
  return {
    name: 'Debezium 3.5 with its JDBC sink',
    settings:
      'source: max.batch.size 8192, max.queue.size 32768, producer lz4 with batches of 1 MB and linger 20 ms; sink: upsert, batch.size 2000, use.reduction.buffer, rewritten batches; without pgbench_history, which has no key',
    async load() {
      await Promise.all([reader(), sink()]);
      await reached();
    },
    async stop() {
      await Promise.all([worker.remove(`${pair.name}_source`), worker.remove(`${pair.name}_sink`)]);
    },
    async drain() {
      await Promise.all([reader(), sink()]);
      await reached();
    },
    async [Symbol.asyncDispose]() {
      await worker[Symbol.asyncDispose]();
      await source.query('DROP TABLE public.bench_marker');
      await target.query('DROP TABLE public.bench_marker');
      await Promise.all([source.end(), target.end()]);
    },
  };
};

async function sums(client: Awaited<ReturnType<typeof connect>>): Promise<string> {
  const { rows } = await client.query<{ sums: string }>(
    `SELECT concat_ws(',', (SELECT count(*) FROM pgbench_accounts), (SELECT sum(abalance) FROM pgbench_accounts),
                      (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(bbalance) FROM pgbench_branches)) AS sums`,
  );
  return rows[0]?.sums ?? '';
}

function sourceOptions(pair: DatabasePair): Record<string, string> {
  const url = new URL(pair.source);
  return {
    'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
    'plugin.name': 'pgoutput',
    'database.hostname': url.hostname,
    'database.port': url.port,
    'database.user': decodeURIComponent(url.username),
    'database.password': decodeURIComponent(url.password),
    'database.dbname': pair.name,
    'topic.prefix': pair.name,
    'slot.name': pair.name,
    'publication.name': pair.name,
    'publication.autocreate.mode': 'all_tables',
    'table.exclude.list': `public.${WITHOUT_KEY}`,
    'topic.creation.default.replication.factor': '1',
    'topic.creation.default.partitions': '1',
    'max.batch.size': '8192',
    'max.queue.size': '32768',
    'poll.interval.ms': '50',
    'producer.override.compression.type': 'lz4',
    'producer.override.batch.size': '1048576',
    'producer.override.linger.ms': '20',
  };
}

function sinkOptions(pair: DatabasePair): Record<string, string> {
  const url = new URL(pair.target);
  return {
    'connector.class': 'io.debezium.connector.jdbc.JdbcSinkConnector',
    'connection.url': `jdbc:postgresql://${url.hostname}:${url.port}/${pair.name}?reWriteBatchedInserts=true`,
    'connection.username': decodeURIComponent(url.username),
    'connection.password': decodeURIComponent(url.password),
    'topics.regex': `${pair.name}\\.public\\..*`,
    'collection.name.format': '${source.table}',
    'insert.mode': 'upsert',
    'delete.enabled': 'true',
    'primary.key.mode': 'record_key',
    'schema.evolution': 'none',
    'batch.size': '2000',
    'use.reduction.buffer': 'true',
    'consumer.override.max.poll.records': '10000',
    'consumer.override.auto.offset.reset': 'earliest',
    'consumer.override.metadata.max.age.ms': '1000',
  };
}
