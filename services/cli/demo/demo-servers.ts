import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { Infrastructure } from '#infra/infrastructure.ts';
import { fillShop, SHOP_TABLES, type ShopSize } from './sample-shop.ts';

export interface DemoServers {
  readonly configFile: string;
  /** Of the source's and the target's owner, for writer and proof. */
  readonly sourceUrl: string;
  readonly targetUrl: string;
  readonly rows: number;
  stop(): Promise<void>;
}

const PASSWORD = 'demo';

/** Starts the servers, makes least-privilege roles, fills the source and writes the pipeline's configuration. */
export async function startDemoServers(size: ShopSize, say: (line: string) => void): Promise<DemoServers> {
  const infrastructure = await Infrastructure.open({ say });
  try {
    const [kafka, source, target] = await Promise.all([
      infrastructure.startKafka(),
      infrastructure.startPostgres({ name: 'source' }),
      infrastructure.startPostgres({ name: 'target' }),
    ]);
    say(
      `Kafka ${kafka.brokers} · source and target PostgreSQL ${source.version} on ports ${source.port} and ${target.port}`,
    );
    say('filling the source …');
    const rows = await prepareSource(source.url, size);
    await prepareTarget(target.url);
    const sourceUrl = withDatabase(source.url, 'shop');
    const targetUrl = withDatabase(target.url, 'shop');
    const configFile = join(infrastructure.dir, 'restage.yaml');
    writeFileSync(
      configFile,
      configText(kafka.brokers.split(','), withUser(sourceUrl, 'mover'), withUser(targetUrl, 'keeper')),
      { mode: 0o600 },
    );
    return { configFile, sourceUrl, targetUrl, rows, stop: () => infrastructure.stop() };
  } catch (error) {
    await infrastructure.stop();
    throw error;
  }
}

async function prepareSource(url: string, size: ShopSize): Promise<number> {
  await run(url, [
    `CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8'`,
    `CREATE ROLE mover LOGIN REPLICATION PASSWORD '${PASSWORD}'`,
  ]);
  const client = new pg.Client({ connectionString: withDatabase(url, 'shop') });
  await client.connect();
  try {
    const rows = await fillShop(client, size);
    await client.query('GRANT SELECT ON ALL TABLES IN SCHEMA public TO mover');
    await client.query('GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO mover');
    await client.query(
      `CREATE PUBLICATION restage_shop FOR TABLE ${SHOP_TABLES.map((table) => `public.${table}`).join(', ')}`,
    );
    return rows;
  } finally {
    await client.end();
  }
}

async function prepareTarget(url: string): Promise<void> {
  await run(url, [
    `CREATE ROLE keeper LOGIN PASSWORD '${PASSWORD}'`,
    `CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' OWNER keeper`,
  ]);
  await run(withDatabase(url, 'shop'), [
    'ALTER SCHEMA public OWNER TO keeper',
    'GRANT SET ON PARAMETER session_replication_role TO keeper',
  ]);
}

async function run(url: string, statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

function withUser(url: string, user: string): string {
  const changed = new URL(url);
  changed.username = user;
  changed.password = PASSWORD;
  return changed.href;
}

function configText(brokers: readonly string[], source: string, target: string): string {
  return `name: shop
kafka: { brokers: ${JSON.stringify(brokers)} }
source:
  postgres: { url: ${JSON.stringify(source)} }
  tables: ["public.*"]
transform:
  outputs:
    - name: main
      version: 1
      rules:
        - table: public.payments
          rename: public.receipts
          columns: { rename: { paid_on: settled_on } }
targets:
  - name: new
    postgres: { url: ${JSON.stringify(target)} }
    output: main
    schema: copy
`;
}
