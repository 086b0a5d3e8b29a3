import pg from 'pg';
import { expect, test } from 'vitest';
import {
  ALTERED_PREFIX,
  dropDdlTrigger,
  ensureDdlTrigger,
  FILL_PREFIX,
  findDdlTrigger,
  readDdlTrigger,
  REWRITE_PREFIX,
} from '#adapters/postgres/source/ddl-trigger.ts';
import { decodePgoutput } from '#adapters/postgres/source/pgoutput-decoder.ts';
import type { PgoutputMessage } from '#adapters/postgres/source/pgoutput-message.ts';
import { readTold } from '#adapters/postgres/source/told-structure.ts';
import { quoteIdentifier, quoteTable } from '#core/table-name.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';

/** What an older \`check\` printed. */
const OLDER_SQL = `
  CREATE FUNCTION public.restage_rewritten() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_logical_emit_message(true, 'restage.rewritten', pg_catalog.pg_event_trigger_table_rewrite_oid()::pg_catalog.int8::pg_catalog.text); END $$;
  CREATE EVENT TRIGGER restage_rewritten ON table_rewrite EXECUTE FUNCTION public.restage_rewritten()`;
const HOSTILE = { schema: 'Ev"il\n', table: `'; DROP TABLE x; -- $restage$ {"oid": 1,` };
const APPLICATION = 'restage t producer';

test.each([15, 18] as const)(
  'PostgreSQL %i: made once, shared, made good, and taken away with the last',
  async (version) => {
    await using database = await createDatabase(version, 'trigger');
    const { client } = database;
    await client.query(OLDER_SQL);
    expect(await readDdlTrigger(client)).toBe('none');
    expect(await ensureDdlTrigger(client)).toBe('made');
    expect(await readDdlTrigger(client)).toBe('there');
    expect(await ensureDdlTrigger(client)).toBe('there');
    expect((await client.query(`SELECT to_regproc('public.restage_rewritten') IS NULL AS gone`)).rows).toEqual([
      { gone: true },
    ]);
    // Another version of it, one that is off, and one whose function somebody else owns.
    const owner = `${database.name}_owner`;
    await client.query(`CREATE ROLE ${owner}`);
    for (const spoil of [
      'DROP EVENT TRIGGER restage_altered',
      'ALTER EVENT TRIGGER restage_rewritten DISABLE',
      `ALTER FUNCTION restage.tell_ddl() OWNER TO ${owner}`,
      'ALTER FUNCTION restage.tell_ddl() SECURITY INVOKER',
    ]) {
      await client.query(spoil);
      expect(await readDdlTrigger(client), spoil).toBe('none');
      expect(await ensureDdlTrigger(client), spoil).toBe('made');
    }
    await Promise.all(
      [2, 3].map(async () => {
        const other = new pg.Client(database.url);
        await other.connect();
        await client.query('DROP EVENT TRIGGER IF EXISTS restage_altered');
        expect(await ensureDdlTrigger(other)).not.toHaveProperty('refused');
        await other.end();
      }),
    );
    expect(await readDdlTrigger(client)).toBe('there');

    await client.query(
      `SELECT pg_create_logical_replication_slot($1, 'pgoutput'), pg_create_logical_replication_slot($2, 'pgoutput')`,
      [`${database.name}_a`, `${database.name}_b`],
    );
    expect(await findDdlTrigger(client, `${database.name}_a`, APPLICATION)).toEqual({ others: 1, mayDrop: true });
    await client.query('SELECT pg_drop_replication_slot($1)', [`${database.name}_b`]);
    const producer = new pg.Client({ connectionString: database.url, application_name: 'restage other producer' });
    await producer.connect();
    expect(await findDdlTrigger(client, `${database.name}_a`, APPLICATION)).toMatchObject({ others: 1 });
    expect(await findDdlTrigger(client, `${database.name}_a`, 'restage other producer')).toMatchObject({ others: 0 });
    await producer.end();
    await dropDdlTrigger(client);
    expect(await findDdlTrigger(client, `${database.name}_a`, APPLICATION)).toBeNull();
    expect((await client.query(`SELECT FROM pg_namespace WHERE nspname = 'restage'`)).rowCount).toBe(0);
    await client.query(`DROP ROLE ${owner}`);
  },
);

test('a role that may not, and a trigger of somebody else: the producer goes on without', async () => {
  await using database = await createDatabase(15, 'trigger');
  const { client } = database;
  const role = `${database.name}_role`;
  await client.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE ${database.name} TO ${role}`);
  const other = new pg.Client(database.urlFor(role, 'x'));
  await other.connect();
  try {
    expect(await ensureDdlTrigger(other)).toEqual({ refused: expect.stringMatching(/permission denied/) });
    expect((await client.query(`SELECT FROM pg_namespace WHERE nspname = 'restage'`)).rowCount).toBe(0);
    await client.query(`CREATE FUNCTION public.mine() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
      CREATE EVENT TRIGGER restage_altered ON ddl_command_end EXECUTE FUNCTION public.mine()`);
    expect(await ensureDdlTrigger(client)).toEqual({ refused: expect.stringMatching(/somebody else/) });
    expect(await findDdlTrigger(client, 'x', APPLICATION)).toBeNull();
    await client.query('DROP EVENT TRIGGER restage_altered');
    expect(await ensureDdlTrigger(client)).toBe('made');
    // Made by somebody who may, heard by everybody.
    expect(await ensureDdlTrigger(other)).toBe('there');
  } finally {
    await other.end();
    await client.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});

test.each([15, 18] as const)(
  'PostgreSQL %i: a statement is told as the server announces it, whoever runs it and whatever names are in it',
  async (version) => {
    await using database = await createDatabase(version, 'trigger');
    const { client, name } = database;
    const role = `${name}_role`;
    const hostile = quoteTable(HOSTILE);
    await client.query(`
      CREATE ROLE ${role} LOGIN PASSWORD 'x'; CREATE SCHEMA ${quoteIdentifier(HOSTILE.schema)} AUTHORIZATION ${role};
      CREATE TYPE public.mood AS ENUM ('ok'); CREATE TYPE public.pair AS (a int, b text); GRANT ALL ON SCHEMA public TO ${role};
      ALTER TYPE public.mood OWNER TO ${role}; ALTER TYPE public.pair OWNER TO ${role};
      CREATE DOMAIN public.dom AS public.mood;
      REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text${version === 18 ? ', boolean' : ''}) FROM PUBLIC;
      CREATE PUBLICATION p FOR ALL TABLES`);
    expect(await ensureDdlTrigger(client)).toBe('made');
    await client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [name]);
    const person = new pg.Client(database.urlFor(role, 'x'));
    await person.connect();
    try {
      await person.query(`
        CREATE TABLE ${hostile} (id int, "a'b" numeric(6,2), c int GENERATED ALWAYS AS (1) STORED, d text, PRIMARY KEY (id) INCLUDE (d));
        CREATE TABLE public.full (a public.mood[], b public.dom, c json); ALTER TABLE public.full REPLICA IDENTITY FULL;
        CREATE TABLE public.indexed (id int PRIMARY KEY, code text NOT NULL UNIQUE); ALTER TABLE public.indexed REPLICA IDENTITY USING INDEX indexed_code_key;
        CREATE TABLE public.typed OF public.pair (PRIMARY KEY (a)); CREATE TABLE public.root (id int PRIMARY KEY) PARTITION BY HASH (id);
        CREATE TABLE public.leaf PARTITION OF public.root FOR VALUES WITH (MODULUS 1, REMAINDER 0); CREATE TABLE public.zero ()`);
      await told(database);
      // With hostile search paths and other people's settings, too.
      await person
        .query(
          `CREATE SCHEMA trap; CREATE FUNCTION trap.jsonb_build_object(VARIADIC "any") RETURNS jsonb LANGUAGE sql AS 'SELECT 1/0'`,
        )
        .catch(() => undefined);
      await person.query(
        `SET search_path = pg_temp, trap, pg_catalog; SET default_transaction_deferrable = on; SET quote_all_identifiers = on`,
      );
      const cases: readonly [sql: string, tables: readonly string[]][] = [
        [`ALTER TABLE ${hostile} ADD COLUMN "__proto__" varchar(7), DROP COLUMN "a'b"`, [hostile]],
        ['ALTER TABLE public.full RENAME COLUMN c TO "\\"', ['public.full']],
        ['ALTER TABLE public.indexed ALTER COLUMN code TYPE varchar(9)', ['public.indexed']],
        ['ALTER TYPE public.pair ADD ATTRIBUTE c numeric(3,1) CASCADE', ['public.typed']],
        ['ALTER TABLE public.root ADD COLUMN n int DEFAULT 4', ['public.leaf']],
        [`ALTER TYPE public.mood RENAME VALUE 'ok' TO 'fine'`, ['public.full']],
        ['ALTER TABLE public.zero REPLICA IDENTITY FULL', ['public.zero']],
      ];
      for (const [sql, tables] of cases) {
        await person.query(sql);
        const messages = (await told(database)).filter(({ prefix }) => prefix === ALTERED_PREFIX);
        const relations = await Promise.all(messages.map(({ content }) => readTold(client, content, 'p')));
        for (const table of tables)
          await client
            .query(`INSERT INTO ${table} DEFAULT VALUES`)
            .catch(() =>
              client
                .query(
                  `INSERT INTO ${table} SELECT (jsonb_populate_record(NULL::${table}, '{"id": 1, "a": 1, "code": "x"}')).*`,
                )
                .catch(() => client.query(`INSERT INTO ${table} (id) VALUES (1)`)),
            );
        const announced = (await read(database)).flatMap((message) =>
          message.tag === 'relation' ? [message.relation] : [],
        );
        expect(relations, sql).toEqual(announced);
        expect(relations, sql).toHaveLength(tables.length);
      }
      // What is told is not what the catalog says by now, or is a lie.
      await person.query('ALTER TABLE public.zero ADD COLUMN one int; ALTER TABLE public.zero DROP COLUMN one');
      const [first, second, ...more] = await told(database);
      expect(more).toEqual([]);
      expect(await readTold(client, first?.content ?? '', 'p')).toBeNull();
      expect(await readTold(client, second?.content ?? '', 'p')).toMatchObject({ table: 'zero', columns: [] });
      for (const lie of ['', '{}', '{"oid": 99999999999999}', '{"oid": 1, "columns": 7}', '{"oid": 1'])
        expect(await readTold(client, lie, 'p')).toBeNull();
    } finally {
      await person.end();
      await client.query(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
    }
  },
);

test.each([15, 18] as const)('PostgreSQL %i: it is in nobody’s way', async (version) => {
  await using database = await createDatabase(version, 'trigger');
  const { client } = database;
  await client.query(`
    CREATE PUBLICATION p FOR ALL TABLES; CREATE TABLE public.t (id int PRIMARY KEY, n int, v text); CREATE TABLE public.root (id int PRIMARY KEY) PARTITION BY LIST (id);
    CREATE TABLE public.one PARTITION OF public.root FOR VALUES IN (1)`);
  expect(await ensureDdlTrigger(client)).toBe('made');
  await client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [database.name]);
  // Which rewrites are told: those that leave other values, and only where nothing else tells.
  await client.query('ALTER TABLE public.t ADD COLUMN g int GENERATED ALWAYS AS (n * 2) STORED');
  await client.query('VACUUM FULL public.t');
  expect((await told(database)).map(({ prefix }) => prefix)).toEqual([FILL_PREFIX, ALTERED_PREFIX]);
  await client.query(
    `SET session_replication_role = replica; ALTER TABLE public.t ALTER COLUMN v TYPE text USING v || 'x'; RESET session_replication_role`,
  );
  expect((await told(database)).map(({ prefix }) => prefix)).toEqual([REWRITE_PREFIX, ALTERED_PREFIX]);
  await client.query(
    'CREATE TEMP TABLE mine (a int); ALTER TABLE mine ADD COLUMN b int; CREATE UNLOGGED TABLE public.u (a int); ALTER TABLE public.u ADD COLUMN b int',
  );
  await client.query('BEGIN; ALTER TABLE public.t ADD COLUMN gone int; ROLLBACK');
  expect(await told(database)).toEqual([]);
  await client.query('ALTER TABLE public.root DETACH PARTITION public.one CONCURRENTLY');
  // What goes wrong in it goes wrong in it alone.
  await client.query(
    `CREATE OR REPLACE FUNCTION restage.tell_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$${(await client.query<{ source: string }>(`SELECT prosrc AS source FROM pg_proc WHERE proname = 'tell_ddl'`)).rows[0]?.source.replaceAll(`'pg_class'::regclass`, `(1 / 0)::oid`) ?? ''}$$`,
  );
  await client.query('ALTER TABLE public.t ADD COLUMN kept int DEFAULT 7');
  await client.query('INSERT INTO public.t (id) VALUES (1)');
  const seen = (await read(database)).map(({ tag }) => tag);
  expect(seen).toEqual(expect.arrayContaining(['relation', 'insert']));
  expect(seen).not.toContain('message');
});

type Message = Extract<PgoutputMessage, { tag: 'message' }>;

/** What the stream has since the last call. */
async function read({ client, name }: TestDatabase): Promise<PgoutputMessage[]> {
  // Decoding ends where the WAL is on disk.
  await client.query(`SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'flush', '')`);
  const { rows } = await client.query<{ data: Buffer }>(
    `SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'p', 'messages', 'true')`,
    [name],
  );
  return rows
    .map(({ data }) => decodePgoutput(data))
    .filter((message) => message.tag !== 'message' || message.prefix !== 'flush');
}

async function told(database: TestDatabase): Promise<Message[]> {
  return (await read(database)).filter((message) => message.tag === 'message');
}
