import { rmSync, writeFileSync } from 'node:fs';
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
  /** Where the cutover's hook says which side takes writes. */
  readonly liveFile: string;
  stop(): Promise<void>;
}

const PASSWORD = 'demo';

/** Of the role at the source: guards before its tables, and a way back into them. */
const FOR_THE_SWITCH = [
  'GRANT INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER ON ALL TABLES IN SCHEMA public TO mover',
  'GRANT UPDATE ON ALL SEQUENCES IN SCHEMA public TO mover',
  'GRANT CREATE ON DATABASE shop TO mover',
  'GRANT SET ON PARAMETER session_replication_role TO mover',
];

/** Starts the servers, makes least-privilege roles, fills the source and writes the pipeline's configuration. */
export async function startDemoServers(size: ShopSize, say: (line: string) => void): Promise<DemoServers> {
  const infrastructure = await Infrastructure.open({ say, isBrief: true });
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
    const liveFile = join(infrastructure.dir, 'live.json');
    const urls = {
      source: withUser(sourceUrl, 'mover'),
      target: withUser(targetUrl, 'keeper'),
      clones: withUser(target.url, 'rehearser'),
    };
    writeFileSync(configFile, configText(kafka.brokers.split(','), urls, liveFile), { mode: 0o600 });
    return {
      configFile,
      sourceUrl,
      targetUrl,
      rows,
      liveFile,
      stop: () => stopServers(infrastructure, [configFile, liveFile]),
    };
  } catch (error) {
    await infrastructure.stop();
    throw error;
  }
}

/** The folder goes when nothing is in it. */
async function stopServers(infrastructure: Infrastructure, files: readonly string[]): Promise<void> {
  for (const file of files) rmSync(file, { force: true });
  await infrastructure.stop();
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
    for (const grant of FOR_THE_SWITCH) await client.query(grant);
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
    `CREATE ROLE keeper LOGIN REPLICATION PASSWORD '${PASSWORD}'`,
    `CREATE ROLE rehearser LOGIN CREATEDB REPLICATION PASSWORD '${PASSWORD}'`,
    `CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' OWNER keeper`,
  ]);
  await run(withDatabase(url, 'shop'), [
    'ALTER SCHEMA public OWNER TO keeper',
    'GRANT SET ON PARAMETER session_replication_role TO keeper, rehearser',
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

function configText(
  brokers: readonly string[],
  urls: { readonly source: string; readonly target: string; readonly clones: string },
  liveFile: string,
): string {
  return `name: shop
kafka: { brokers: ${JSON.stringify(brokers)} }
source:
  postgres: { url: ${JSON.stringify(urls.source)} }
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
    postgres: { url: ${JSON.stringify(urls.target)} }
    output: main
    schema: copy
cutover: { hook: { file: ${JSON.stringify(liveFile)} } }
rehearsal: { postgres: { url: ${JSON.stringify(urls.clones)} } }
`;
}
