import { Kafka, logLevel } from 'kafkajs';
import pg from 'pg';
import { testKafka } from './servers.ts';

/** What a pipeline makes outside itself, by name. */
export interface Traces {
  readonly slots: readonly string[];
  readonly publications: readonly string[];
  /** Schemas and relations of the target. */
  readonly target: readonly string[];
  readonly topics: readonly string[];
}

const TARGET_SQL = `
  SELECT n.nspname || '.' || coalesce(c.relname, '') AS name FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid
   WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)' ORDER BY 1`;

/** Everything that is there now; `prefix` chooses the topics. */
export async function findTraces(source: string, target: string, prefix: string): Promise<Traces> {
  const [slots, publications, relations, topics] = await Promise.all([
    names(source, 'SELECT slot_name AS name FROM pg_replication_slots WHERE database = current_database() ORDER BY 1'),
    names(source, 'SELECT pubname AS name FROM pg_publication ORDER BY 1'),
    names(target, TARGET_SQL),
    topicsOf(prefix),
  ]);
  return { slots, publications, target: relations, topics };
}

async function names(url: string, sql: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<{ name: string }>(sql)).rows.map((row) => row.name);
  } finally {
    await client.end();
  }
}

async function topicsOf(prefix: string): Promise<string[]> {
  const admin = new Kafka({ brokers: testKafka().split(','), logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    return (await admin.listTopics()).filter((topic) => topic.startsWith(`${prefix}.`)).toSorted();
  } finally {
    await admin.disconnect();
  }
}
