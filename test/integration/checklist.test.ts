import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type pg from 'pg';
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
  CREATE TABLE public.notes (id int PRIMARY KEY, body text);
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
