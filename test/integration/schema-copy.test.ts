import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { readTables, selectTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { dumpStructure } from '#adapters/postgres/target/pg-dump.ts';
import { alterTable } from '#adapters/postgres/target/alter-table.ts';
import { takePostData } from '#adapters/postgres/target/post-data.ts';
import { openTargetSchema } from '#adapters/postgres/target/open-target-schema.ts';
import { createTable } from '#adapters/postgres/target/schema-create.ts';
import { storeArchive } from '#adapters/postgres/target/structure-archive.ts';
import { loadConfig } from '#core/config-load.ts';
import type { TargetConfig } from '#core/config.ts';
import { NO_FAILPOINTS, type Failpoints } from '#core/failpoints.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { shapeTables } from '#core/rules/shape-tables.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import { readSchemaDiff } from '../../services/cli/schema-diff.ts';
import { postgresBin } from '../harness/servers.ts';

const server = process.env['RESTAGE_TEST_PG15'];
const SOURCE = 'restage_schema_source';
const TARGET = 'restage_schema_target';

const SOURCE_SQL = `
  CREATE SCHEMA shop;
  CREATE EXTENSION citext SCHEMA public;
  CREATE TYPE shop.mood AS ENUM ('ok', 'it''s bad');
  CREATE DOMAIN shop.positive AS integer CHECK (VALUE > 0);
  CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'x'; RETURN NEW; END $$;
  CREATE TABLE shop.customers (id serial PRIMARY KEY, email public.citext UNIQUE DEFERRABLE, mood shop.mood DEFAULT 'ok',
    moods shop.mood[], n shop.positive, spans interval day to second(3)[]);
  CREATE TABLE shop."Old orders" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cust int NOT NULL REFERENCES shop.customers ON DELETE CASCADE, amount numeric(10,2) CHECK (amount >= 0), note text,
    internal_note text, up text GENERATED ALWAYS AS (upper(note)) STORED);
  CREATE INDEX oo_note ON shop."Old orders" (lower(note)) WHERE amount > 5;
  CREATE UNIQUE INDEX oo_cust ON shop."Old orders" (cust, id) INCLUDE (amount);
  ALTER TABLE shop."Old orders" REPLICA IDENTITY USING INDEX "Old orders_pkey";
  CREATE TRIGGER touched BEFORE INSERT ON shop."Old orders" FOR EACH ROW EXECUTE FUNCTION shop.touch();
  ALTER TABLE shop."Old orders" ENABLE ALWAYS TRIGGER touched;
  CREATE TABLE shop.audit (id int PRIMARY KEY, customer int REFERENCES shop.customers);
  ALTER TABLE shop.customers ADD COLUMN audited int REFERENCES shop.audit;
  CREATE TABLE shop.days (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
  CREATE TABLE shop.days_2020 PARTITION OF shop.days FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
  CREATE INDEX days_d ON shop.days (d);
  CREATE VIEW shop.people AS SELECT id, email FROM shop.customers;
  CREATE MATERIALIZED VIEW shop.counted AS SELECT count(*) AS n FROM shop.customers;
  CREATE RULE keep AS ON DELETE TO shop.customers DO INSTEAD NOTHING;
`;
const TABLES = ['shop.*', '!shop.audit'];
const RENAMES: RuleConfig[] = [
  {
    table: { schema: 'shop', table: 'Old orders' },
    rename: { schema: 'sales', table: 'orders' },
    renameColumns: new Map([['cust', 'customer_id']]),
    dropColumns: ['internal_note'],
    where: null,
  },
];

let admin: pg.Client;
let target: pg.Client;
let tables: TableStructure[];

function urlOf(database: string): string {
  const url = new URL(server ?? 'postgresql://127.0.0.1');
  url.pathname = `/${database}`;
  return url.toString();
}

function schemaOf(
  schema: TargetConfig['schema'],
  rules: readonly RuleConfig[] = [],
  failpoints: Failpoints = NO_FAILPOINTS,
): TargetSchema {
  return openTargetSchema({
    failpoints,
    pipeline: 'shop',
    rules,
    target: { name: 'new', url: urlOf(TARGET), output: null, schema, loadWorkers: 3 },
  });
}

async function store(): Promise<readonly string[]> {
  const result = await storeArchive({ sourceUrl: urlOf(SOURCE), targetClient: target, tables, pipeline: 'shop' });
  return result?.leftOut ?? [];
}

async function names(sql: string): Promise<string[]> {
  return (await target.query<{ name: string }>(sql)).rows.map((row) => row.name);
}

const INDEXES =
  "SELECT indexname AS name FROM pg_indexes WHERE schemaname IN ('shop', 'sales') ORDER BY indexname COLLATE \"C\"";
const CONSTRAINTS = `SELECT conrelid::regclass || ': ' || pg_get_constraintdef(oid) AS name FROM pg_constraint
  WHERE contype IN ('p', 'u', 'f') AND conparentid = 0 AND connamespace::regnamespace::text IN ('shop', 'sales') ORDER BY 1`;
const TRIGGERS = 'SELECT tgname::text || tgenabled::text AS name FROM pg_trigger WHERE NOT tgisinternal';

beforeAll(async () => {
  if (server === undefined) return;
  admin = await connectPg({ url: server, purpose: 'source', application: 'test' });
  await admin.query(`DROP DATABASE IF EXISTS ${SOURCE} WITH (FORCE)`);
  await admin.query(`CREATE DATABASE ${SOURCE}`);
  const source = await connectPg({ url: urlOf(SOURCE), purpose: 'source', application: 'test' });
  await source.query(SOURCE_SQL);
  tables = selectTables(await readTables(source, 'shop'), TABLES);
  await source.end();
});

beforeEach(async () => {
  if (server === undefined) return;
  await target?.end();
  await admin.query(`DROP DATABASE IF EXISTS ${TARGET} WITH (FORCE)`);
  await admin.query(`CREATE DATABASE ${TARGET}`);
  target = await connectPg({ url: urlOf(TARGET), purpose: 'target', application: 'test' });
});

afterAll(async () => {
  await target?.end();
  await admin?.query(`DROP DATABASE IF EXISTS ${TARGET} WITH (FORCE)`);
  await admin?.query(`DROP DATABASE IF EXISTS ${SOURCE} WITH (FORCE)`);
  await admin?.end();
});

test('a server that is away while its structure is read is no fault of the structure', async () => {
  const dumped = dumpStructure({ directory: postgresBin(), major: 15 }, 'postgresql://nobody@127.0.0.1:1/none');
  await expect(dumped).rejects.toMatchObject({ code: 'transient' });
});

test.skipIf(server === undefined)('copies the structure, and every step may be called again', async () => {
  const leftOut = await store();
  expect(leftOut.join('\n')).toContain('customers_audited_fkey');
  const copy = schemaOf('copy');
  for (const _ of [1, 2]) await copy.preData(tables);
  expect(await names(INDEXES)).toEqual([]);
  expect(await names(CONSTRAINTS)).toEqual([]);
  expect(await names(TRIGGERS)).toEqual([]);
  await target.query(`INSERT INTO shop.customers (id, email) VALUES (7, 'a@b')`);
  await target.query(`INSERT INTO shop."Old orders" (cust, amount, note) VALUES (7, 8, 'as it was')`);
  for (const _ of [1, 2]) await copy.postLoad();
  expect(await names(INDEXES)).toEqual([
    'Old orders_pkey',
    'customers_email_key',
    'customers_pkey',
    'days_2020_d_idx',
    'days_2020_pkey',
    'days_d',
    'days_pkey',
    'oo_cust',
    'oo_note',
  ]);
  for (const _ of [1, 2]) await copy.whenCaughtUp();
  expect(await names(CONSTRAINTS)).toEqual([
    'shop."Old orders": FOREIGN KEY (cust) REFERENCES shop.customers(id) ON DELETE CASCADE',
    'shop."Old orders": PRIMARY KEY (id)',
    'shop.customers: PRIMARY KEY (id)',
    'shop.customers: UNIQUE (email) DEFERRABLE',
    'shop.days: PRIMARY KEY (id, d)',
  ]);
  expect(await names(TRIGGERS)).toEqual(['touchedA']);
  expect(
    await names(`SELECT relreplident::text AS name FROM pg_class WHERE oid = 'shop."Old orders"'::regclass`),
  ).toEqual(['i']);
  expect(await names('SELECT n::text AS name FROM shop.counted')).toEqual(['1']);
  expect(await names("SELECT rulename AS name FROM pg_rules WHERE schemaname = 'shop'")).toEqual(['keep']);
  expect(await names("SELECT tablename AS name FROM pg_tables WHERE tablename = 'audit'")).toEqual([]);
  expect(await names('SELECT step AS name FROM restage.journal WHERE finished_at IS NULL')).toEqual([]);
  expect(await storeArchive({ sourceUrl: urlOf(SOURCE), targetClient: target, tables, pipeline: 'shop' })).toBeNull();
  // What the copy leaves out is what the comparison finds, and what somebody does afterwards.
  expect(await diff()).toEqual(['missing constraint shop.customers FOREIGN KEY (audited) REFERENCES shop.audit(id)']);
  await target.query(`
    DROP INDEX shop.oo_note; ALTER TABLE shop.customers ALTER COLUMN mood SET NOT NULL; ALTER TYPE shop.mood ADD VALUE 'new';
    CREATE INDEX more ON shop.days (id); CREATE OR REPLACE VIEW shop.people AS SELECT id, email FROM shop.customers WHERE id > 0`);
  expect(await diff()).toEqual([
    'different column shop.customers mood',
    'missing constraint shop.customers FOREIGN KEY (audited) REFERENCES shop.audit(id)',
    'missing index shop."Old orders" CREATE INDEX ON shop."Old orders" USING btree (lower(note)) WHERE (amount > (5)::numeric)',
    'different type shop.mood',
    'different view shop.people',
    'extra index shop.days_2020 CREATE INDEX ON shop.days_2020 USING btree (id)',
  ]);
});

async function diff(): Promise<string[]> {
  const config = loadConfig(
    `name: shop
kafka: { brokers: ["127.0.0.1:1"] }
source: { postgres: { url: "${urlOf(SOURCE)}" }, tables: ["shop.*", "!shop.audit"] }
targets: [{ name: new, postgres: { url: "${urlOf(TARGET)}" } }]`,
    'shop.yaml',
    {},
  );
  const [to] = config.targets;
  if (to === undefined) throw new Error('no target');
  const { differences } = await readSchemaDiff(config, to);
  return differences.map(({ is, kind, name }) => `${is} ${kind} ${name}`);
}

test.skipIf(server === undefined)('a key that a view holds on to stays, and all others go', async () => {
  await target.query(`
    CREATE TABLE public.free (id int PRIMARY KEY); CREATE TABLE public.held (id int PRIMARY KEY, n int UNIQUE);
    CREATE VIEW public.grouped AS SELECT id, n FROM public.held GROUP BY id`);
  await target.query('BEGIN');
  const steps = await takePostData(
    target,
    ['free', 'held'].map((table) => ({ schema: 'public', table })),
  );
  await target.query('COMMIT');
  expect(steps.filter(({ phase }) => phase === 'key').map(({ name }) => name)).toEqual(['free_pkey', 'held_n_key']);
  expect(
    await names(
      `SELECT conname AS name FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u')`,
    ),
  ).toEqual(['held_pkey']);
});

test.skipIf(server === undefined)('renames tables and columns, and every definition follows', async () => {
  await store();
  const shaped = shapeTables(tables, { rules: RENAMES });
  const copy = schemaOf('copy', RENAMES);
  await copy.preData(shaped);
  await copy.postLoad();
  await copy.whenCaughtUp();
  expect(await names(CONSTRAINTS)).toContain(
    'sales.orders: FOREIGN KEY (customer_id) REFERENCES shop.customers(id) ON DELETE CASCADE',
  );
  expect(await names("SELECT indexdef AS name FROM pg_indexes WHERE indexname = 'oo_cust'")).toEqual([
    'CREATE UNIQUE INDEX oo_cust ON sales.orders USING btree (customer_id, id) INCLUDE (amount)',
  ]);
  expect(
    await names(
      "SELECT attname AS name FROM pg_attribute WHERE attrelid = 'sales.orders'::regclass AND attnum > 0 AND NOT attisdropped",
    ),
  ).toEqual(['id', 'customer_id', 'amount', 'note', 'up']);
});

test.skipIf(server === undefined)(
  'refuses tables that nobody journalled, and leaves nothing behind when the restore fails',
  async () => {
    await store();
    await target.query('CREATE SCHEMA shop; CREATE TABLE shop.customers (id int)');
    await expect(schemaOf('copy').preData(tables)).rejects.toMatchObject({
      code: 'schema_differs',
      where: 'shop.customers',
    });
    await target.query('DROP TABLE shop.customers; CREATE TYPE shop.mood AS ENUM ()');
    await expect(schemaOf('copy').preData(tables)).rejects.toMatchObject({ code: 'schema_differs' });
    expect(
      await names("SELECT relname AS name FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r'"),
    ).toEqual([]);
  },
);

test.skipIf(server === undefined)('creates tables from the captured structure alone', async () => {
  await target.query(
    'CREATE SCHEMA shop; CREATE EXTENSION citext SCHEMA public; CREATE DOMAIN shop.positive AS integer',
  );
  const create = schemaOf('create');
  await create.preData(tables);
  await create.preData(tables);
  await create.postLoad();
  await create.whenCaughtUp();
  expect(await names(CONSTRAINTS)).toContain('shop.customers: PRIMARY KEY (id)');
  expect(
    await names(
      `SELECT format_type(atttypid, atttypmod) AS name FROM pg_attribute WHERE attrelid = 'shop.customers'::regclass AND attnum > 0`,
    ),
  ).toEqual([
    'integer',
    'public.citext',
    'shop.mood',
    'shop.mood[]',
    'shop.positive',
    'interval day to second(3)[]',
    'integer',
  ]);
});

test.skipIf(server === undefined)(
  'a collation that the target lacks is refused with the statement, and taken once it is there',
  async () => {
    const of = (schema: string, name: string): TableStructure => {
      const found = tables.find((table) => table.schema === schema && table.table === name);
      if (found === undefined) throw new Error(`no table ${schema}.${name}`);
      return found;
    };
    const days = of('shop', 'days_2020');
    const [column] = days.columns;
    if (column === undefined) throw new Error('no column');
    const word = {
      ...column,
      name: 'word',
      type: 'text',
      typeName: 'text',
      json: 'text' as const,
      notNull: false,
      collation: { schema: 'shop', name: 'Od"d' },
    };
    const made = { ...days, columns: [...days.columns, word] };
    await target.query('CREATE SCHEMA shop');
    await expect(createTable(target, made)).rejects.toMatchObject({
      code: 'schema_missing',
      message: expect.stringContaining('collation "shop.Od"d" for encoding "UTF8" does not exist'),
      fix: expect.stringContaining('create the missing type, collation'),
    });
    await createTable(target, days);
    const added = [{ kind: 'add', column: 'word', fill: null, expression: null }] as const;
    await expect(alterTable(target, made, added, 'LSN 0/1')).rejects.toMatchObject({
      code: 'ddl_unsupported',
      where: expect.stringContaining(
        'shop.days_2020, LSN 0/1: ALTER TABLE "shop"."days_2020" ADD COLUMN "word" "pg_catalog"."text" COLLATE "shop"."Od""d"',
      ),
      fix: expect.stringContaining('make the change there by hand'),
    });
    await target.query(`CREATE COLLATION shop."Od""d" FROM "C"`);
    await alterTable(target, made, added, 'LSN 0/1');
    expect(
      await names(
        `SELECT attcollation::regcollation::text AS name FROM pg_attribute WHERE attrelid = 'shop.days_2020'::regclass AND attname = 'word'`,
      ),
    ).toEqual(['shop."Od""d"']);
  },
);

test.skipIf(server === undefined)(
  'makes many tables in several transactions, and goes on after a death between',
  async () => {
    const [days] = tables.filter(({ table }) => table === 'days_2020');
    if (days === undefined) throw new Error('no table to make more of');
    const many = Array.from({ length: 501 }, (_, index) => ({ ...days, table: `many_${index}` }));
    let left = 1;
    const dying: Failpoints = {
      hit(point) {
        if (point === 'sink.preData.after' && (left -= 1) === 0) throw new Error('killed');
      },
    };
    await expect(schemaOf('create', [], dying).preData(many)).rejects.toThrow('killed');
    const made = "SELECT relname AS name FROM pg_class WHERE relname LIKE 'many%' AND relkind = 'r'";
    expect(await names(made)).toHaveLength(500);
    await schemaOf('create').preData(many);
    await schemaOf('create').preData(many);
    expect(await names(made)).toHaveLength(501);
    expect(
      await names("SELECT detail->'table'->>'table' AS name FROM restage.journal WHERE detail->>'phase' = 'key'"),
    ).toHaveLength(501);
    // What somebody else made in the meantime is not taken for it.
    await target.query(
      'UPDATE restage.journal SET finished_at = NULL; DROP TABLE shop.many_500; CREATE TABLE shop.many_501 (id int)',
    );
    const [last] = many.slice(-1);
    if (last === undefined) throw new Error('none');
    await expect(schemaOf('create').preData([...many, { ...last, table: 'many_501' }])).rejects.toMatchObject({
      code: 'schema_differs',
    });
  },
);

test.skipIf(server === undefined)('requires tables that are there, fit and are empty', async () => {
  await expect(schemaOf('require').preData(tables)).rejects.toMatchObject({ code: 'schema_missing' });
  await target.query('CREATE SCHEMA shop; CREATE TABLE shop.days_2020 (id bigint, d text)');
  const days = tables.filter((table) => table.table === 'days_2020');
  await expect(schemaOf('require').preData(days)).rejects.toMatchObject({
    code: 'schema_differs',
    where: "shop.days_2020: column d is text, the source's is date",
  });
  await target.query(
    "ALTER TABLE shop.days_2020 ALTER d TYPE date USING d::date; INSERT INTO shop.days_2020 VALUES (1, '2020-02-02')",
  );
  await expect(schemaOf('require').preData(days)).rejects.toMatchObject({
    code: 'target_not_empty',
    where: 'shop.days_2020',
  });
  await target.query('TRUNCATE shop.days_2020');
  await schemaOf('require').preData(days);
  await schemaOf('require').postLoad();
});
