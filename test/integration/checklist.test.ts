import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { expect, test } from 'vitest';
import { runCommand } from '../harness/command.ts';
import { createDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';

interface Report {
  readonly findings: readonly {
    readonly id: string;
    readonly what: string;
    readonly evidence: string;
    readonly fix: string;
  }[];
  readonly fixes: readonly {
    readonly at: string;
    readonly statements: readonly string[];
    readonly refused?: string | null;
  }[];
}

/** What standard error says comes before it. */
function reportOf(text: string): Report {
  return JSON.parse(text.trim().split('\n').at(-1) ?? '') as Report;
}

async function versionOf(client: pg.Client): Promise<string | undefined> {
  const { rows } = await client.query<{ v: string }>(
    `SELECT extversion AS v FROM pg_extension WHERE extname = 'hstore'`,
  );
  return rows[0]?.v;
}

const SOURCE_SQL = `
  CREATE TABLE public.orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total numeric, twice numeric GENERATED ALWAYS AS (total * 2) STORED);
  CREATE TABLE public."Orders" (id int PRIMARY KEY);
  CREATE TABLE public.lines (id int PRIMARY KEY, order_id int REFERENCES public.orders);
  CREATE TABLE public.notes (id int PRIMARY KEY, body text) WITH (autovacuum_enabled = false);
  ALTER TABLE public.notes ADD CONSTRAINT short CHECK (length(body) < 9) NOT VALID;
  CREATE UNIQUE INDEX some_notes ON public.notes (lower(body));
  ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
  CREATE POLICY everyone ON public.notes USING (true);
  CREATE TABLE public.measured (at date, v int) PARTITION BY RANGE (at);
  CREATE TABLE public.measured_1 PARTITION OF public.measured (PRIMARY KEY (at)) DEFAULT;
  CREATE MATERIALIZED VIEW public.sums AS SELECT sum(total) FROM public.orders;
  CREATE VIEW public.seen AS SELECT * FROM public.orders;
  CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
  CREATE SEQUENCE public.numbers AS smallint START 32000; SELECT nextval('public.numbers');
  CREATE SEQUENCE public.round AS smallint CYCLE CACHE 5;
  CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE public.far (id int) SERVER nowhere;
  CREATE PUBLICATION others FOR ALL TABLES;
  INSERT INTO public.notes SELECT n, n FROM generate_series(1, 2000) n;
  CREATE EXTENSION hstore WITH SCHEMA public;
  ALTER TABLE public.notes ADD COLUMN tags public.hstore;
  CREATE SCHEMA cube_of; CREATE EXTENSION cube WITH SCHEMA cube_of;
  SELECT lo_create(0), lo_create(0);
`;

test.each([15, 18] as const)(
  'PostgreSQL %i: what a source has beside rows is named, and no check fails',
  async (version) => {
    await using source = await createDatabase(version, 'checklist_source');
    await using target = await createDatabase(version === 15 ? 18 : 15, 'checklist_target');
    await source.client.query(SOURCE_SQL);
    const role = `${source.name}_app`;
    await source.client.query(
      `CREATE ROLE "${role}" LOGIN; GRANT SELECT ON public.notes TO "${role}"; ALTER DATABASE "${source.name}" SET work_mem = '5MB'`,
    );
    await target.client.query(
      `CREATE EXTENSION hstore VERSION '1.4'; CREATE SCHEMA cube_of;
       UPDATE pg_database SET datcollversion = '0' WHERE datname = current_database() AND datcollversion IS NOT NULL`,
    );
    await target.client.query(`CREATE FUNCTION public.noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER watcher ON ddl_command_end EXECUTE FUNCTION public.noted()`);
    const text = `name: ${source.name.slice(-20).replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source:
  postgres: { url: "${source.url}" }
  tables: ["public.orders", "public.Orders", "public.notes", "public.measured_1"]
transform: { outputs: [{ name: main, rules: [{ table: public.orders, where: "id > 0", columns: { drop: [total] } }] }] }
targets: [{ name: new, output: main, postgres: { url: "${target.url}" }, schema: create }]
`;
    const folder = mkdtempSync(path.join(tmpdir(), 'restage-checklist-'));
    const file = path.join(folder, 'checklist.yaml');
    writeFileSync(file, text);
    try {
      const result = await runCommand(['check', '-c', file, '--json']);
      const { findings } = JSON.parse(result.text) as Report;
      if (version === 18)
        expect(findings.find(({ id }) => id === 'target.version')?.evidence).toContain('PostgreSQL 15');
      expect(findings.filter(({ what }) => what === 'this check could not run')).toEqual([]);
      const of = (id: string): string | undefined => findings.find((finding) => finding.id === id)?.evidence;
      expect(of('scope.outside_wal')).toBe('public.far');
      expect(of('scope.materialized_views')).toBe('public.sums');
      expect(of('scope.computed')).toBe('public.orders.id (identity), public.orders.twice (generated)');
      expect(of('scope.sequence_limits')).toBe('public.numbers 97 %');
      expect(of('scope.constraints')).toBe('public.notes: short');
      expect(of('scope.special_indexes')).toBe('public.notes: some_notes');
      expect(of('scope.partitions')).toBe('public.measured');
      expect(of('scope.policies')).toBe('public.notes');
      expect(of('scope.alike_names')).toBe('public."Orders" and public.orders');
      expect(of('scope.dependants')).toBe('public.lines, public.seen');
      expect(of('scope.statistics')).toContain('public.notes');
      expect(of('scope.size')).toContain('the largest: public.notes');
      expect(of('source.neighbours')).toContain('publication others FOR ALL TABLES');
      expect(of('target.event_triggers')).toBe('target new: watcher');
      expect(of('target.database_settings')).toBe('target new: work_mem');
      expect(of('target.roles')).toContain(role);
      expect(of('kafka.replication')).toContain('replicationFactor = 1, 1 broker');
      expect(of('rollback.inverse')).toBe(
        'target new: public.orders (rows are left out by where; columns are left out: total)',
      );
      expect(of('scope.drift')).toBeUndefined();
      expect(of('scope.large_objects')).toBe('2 large objects');
      expect(of('target.extensions')).toBe('target new: 1.4; the source has 1.8');
      const [row] = (
        await target.client.query(`SELECT FROM pg_database WHERE datname = current_database() AND datcollversion = '0'`)
      ).rows;
      if (row !== undefined) expect(of('servers.collation_versions')).toMatch(/^target new: the database 0, now /);

      const shown = await runCommand(['check', '-c', file, '--fix', '--dry-run', '--json']);
      const fixes = reportOf(shown.text).fixes.map(({ at, statements }) => `${at}: ${statements.join('; ')}`);
      expect(fixes).toEqual([
        `target new: ALTER EXTENSION "hstore" UPDATE TO '1.8'`,
        expect.stringMatching(/^source: ANALYZE .*"public"."notes"/),
      ]);
      expect(await versionOf(target.client)).toBe('1.4');
      const unasked = await runCommand(['check', '-c', file, '--fix']);
      expect(unasked).toMatchObject({ code: 2 });
      const fixed = reportOf((await runCommand(['check', '-c', file, '--fix', '--yes', '--json'])).text);
      expect(fixed.fixes.map(({ refused }) => refused)).toEqual([null, null]);
      expect(fixed.findings.filter(({ id }) => id === 'target.extensions' || id === 'scope.statistics')).toEqual([]);
      expect(await versionOf(target.client)).toBe('1.8');
      expect(result.text).not.toContain('5MB');
    } finally {
      rmSync(folder, { recursive: true });
      await source.client.query(`DROP OWNED BY "${role}"; DROP ROLE "${role}"`);
    }
  },
);

const ODD_SQL = `
  CREATE TABLE public.loose (a int, b int); ALTER TABLE public.loose REPLICA IDENTITY FULL;
  CREATE TABLE public.one (id int PRIMARY KEY, at xml);
  DO $$ BEGIN EXECUTE (SELECT format('CREATE TABLE public.wide (id int PRIMARY KEY, %s)', string_agg('c' || n || ' int', ',')) FROM generate_series(1, 40) n); END $$;
  ALTER TABLE public.wide REPLICA IDENTITY FULL;
  CREATE TABLE public.heavy (id int PRIMARY KEY, v text); ALTER TABLE public.heavy ALTER v SET STORAGE EXTERNAL;
  INSERT INTO public.heavy SELECT n, repeat('x', 3000000) FROM generate_series(1, 2) n; ANALYZE public.heavy;
  SELECT pg_create_logical_replication_slot(current_database()::text || '_forgotten', 'pgoutput')`;
const ODD_TARGET_SQL = `
  CREATE TABLE public.loose (a int, b int);
  CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
  CREATE TRIGGER noted AFTER INSERT ON public.loose FOR EACH ROW EXECUTE FUNCTION public.nothing();
  ALTER TABLE public.loose ENABLE ALWAYS TRIGGER noted`;

/** Beside the databases of a test, on the same server, in another encoding. */
async function createOdd(beside: pg.Client, url: string, name: string, encoding: string): Promise<string> {
  await beside.query(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LC_COLLATE 'C' LC_CTYPE 'C'`);
  const other = new URL(url);
  other.pathname = `/${name}`;
  return other.href;
}

test('what one machine can make wrong of a source and a target beside that is found, each by its check', async () => {
  await using plain = await createDatabase(15, 'odd');
  const [source, target] = [`${plain.name}_from`, `${plain.name}_to`];
  const sourceUrl = await createOdd(plain.client, plain.url, source, 'SQL_ASCII');
  const targetUrl = await createOdd(plain.client, plain.url, target, 'LATIN1');
  await plain.client.query(`ALTER DATABASE ${source} SET wal_sender_timeout = '2s'`);
  const from = new pg.Client({ connectionString: sourceUrl, application_name: 'billing' });
  const to = new pg.Client({ connectionString: targetUrl, application_name: 'reports' });
  const folder = mkdtempSync(path.join(tmpdir(), 'restage-odd-'));
  const file = path.join(folder, 'odd.yaml');
  writeFileSync(
    file,
    `name: ${plain.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${sourceUrl}" } }
targets: [{ name: new, postgres: { url: "${targetUrl}" }, schema: create }]
`,
  );
  try {
    for (const client of [from, to]) await client.connect();
    for (const statement of ODD_SQL.split(/;\n/)) await from.query(statement);
    await to.query(ODD_TARGET_SQL);
    await plain.client.query(`ALTER DATABASE ${target} SET default_transaction_read_only = on`);
    // It also keeps a slot from being made.
    await from.query(`BEGIN; INSERT INTO public.loose VALUES (1, 1); PREPARE TRANSACTION '${source}'`);
    const { findings } = reportOf((await runCommand(['check', '-c', file, '--json'])).text);
    await from.query(`ROLLBACK PREPARED '${source}'`);
    const of = (id: string): string | undefined => findings.find((finding) => finding.id === id)?.evidence;
    expect(of('source.replication_connection')).toContain('not ready after 10 s');
    expect(of('source.prepared_transactions')).toContain(source);
    expect(of('source.encoding')).toBe('server_encoding = SQL_ASCII');
    expect(of('source.slot_limit')).toBe('max_slot_wal_keep_size = -1');
    expect(of('source.sender_timeout')).toBe('wal_sender_timeout = 2000 ms');
    expect(of('source.other_slots')).toContain(`${source}_forgotten keeps`);
    expect(of('source.clients')).toContain('(billing)');
    expect(of('source.query_figures')).toContain('pg_stat_statements');
    expect(of('source.wal_rate')).toMatch(/MiB an hour/);
    expect(of('scope.identity_full')).toBe('public.wide (41 columns)');
    expect(of('scope.keyless')).toBe('public.loose');
    expect(of('scope.wide_rows')).toMatch(/^public\.heavy: \d+ bytes a row$/);
    expect(of('target.encoding')).toBe('target new: server_encoding = LATIN1');
    expect(of('target.read_only')).toBe('target new: default_transaction_read_only = on');
    expect(of('target.clients')).toContain('(reports)');
    expect(of('target.settings')).toMatch(/max_wal_size|fsync/);
    expect(of('target.triggers')).toContain('public.loose: noted');
    expect(of('target.tables')).toContain('public.loose');
    // A target that is not ready is left as it is: no journal is begun there.
    expect((await to.query(`SELECT FROM pg_namespace WHERE nspname = 'restage'`)).rowCount).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
    await from.query(`SELECT pg_drop_replication_slot('${source}_forgotten')`).catch(() => undefined);
    for (const client of [from, to]) await client.end();
    for (const name of [source, target]) await plain.client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  }
});
