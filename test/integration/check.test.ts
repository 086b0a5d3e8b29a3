import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectPg } from '#adapters/postgres/session.ts';
import type { Config } from '#core/config.ts';
import { loadConfig } from '#core/config-load.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { runCheck } from '../../services/cli/check/check-command.ts';

const server = process.env['RESTAGE_TEST_PG15'];
const brokers = process.env['RESTAGE_TEST_KAFKA'] ?? '';
const SOURCE = 'restage_check_source';
const TARGET = 'restage_check_target';
const ROLE = 'restage_check_role';

const SOURCE_SQL = `
  CREATE TABLE public.orders (id int PRIMARY KEY, amount numeric(10,2));
  CREATE TABLE public.log (line text);
  CREATE TABLE public.secret (id serial PRIMARY KEY);
  CREATE TABLE public.lines (id int PRIMARY KEY, item int);
  CREATE TABLE public.items (id int PRIMARY KEY);
  ALTER TABLE public.lines ADD FOREIGN KEY (item) REFERENCES public.items;
  CREATE UNLOGGED TABLE public.scratch (id int);
  ALTER TABLE public.secret ENABLE ROW LEVEL SECURITY;
`;

interface Report {
  readonly ok: boolean;
  readonly findings: readonly {
    readonly id: string;
    readonly severity: string;
    readonly what: string;
    readonly evidence: string;
    readonly fix: string;
  }[];
}

let admin: pg.Client;

function urlOf(database: string, role?: string): string {
  const url = new URL(server ?? 'postgresql://127.0.0.1');
  url.pathname = `/${database}`;
  if (role !== undefined) {
    url.username = role;
    url.password = 'check';
  }
  return url.toString();
}

function configOf(
  sourceUrl: string,
  targetUrl: string,
  tables: readonly string[],
  rules: readonly RuleConfig[] = [],
): Config {
  return {
    name: 'checked',
    file: 'test',
    outputs: [{ name: 'main', version: 1, rules }],
    http: { host: '127.0.0.1', port: 0 },
    epoch: { bytes: 1, lingerMs: 1, partBytes: 1 },
    kafka: { brokers: ['127.0.0.1:1'], ssl: false, sasl: null, replicationFactor: 1 },
    source: {
      url: sourceUrl,
      tables,
      publication: 'checked',
      slot: 'checked',
      partitions: 'leaves',
      snapshotWorkers: 1,
      heartbeatMs: 1,
      onRewrite: 'snapshot',
      keepSnapshotMinutes: 0,
      walBudget: { bytes: 1e10, whenFull: 'wait' },
    },
    targets: [{ name: 'new', url: targetUrl, output: 'main', schema: 'require', loadWorkers: 1 }],
  };
}

async function check(
  config: Config,
): Promise<{ code: number; report: Report; of: (id: string) => Report['findings'][number] | undefined }> {
  let text = '';
  const code = await runCheck(config, { json: true, out: (more) => (text += more) });
  const report = JSON.parse(text) as Report;
  return { code, report, of: (id) => report.findings.find((finding) => finding.id === id) };
}

async function run(database: string, sql: string): Promise<void> {
  const client = await connectPg({ url: urlOf(database), purpose: 'source', application: 'test' });
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function clean(): Promise<void> {
  for (const database of [SOURCE, TARGET]) await admin.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
  await admin.query(`DROP ROLE IF EXISTS ${ROLE}`);
}

beforeAll(async () => {
  if (server === undefined) return;
  admin = await connectPg({ url: server, purpose: 'source', application: 'test' });
  await clean();
  for (const database of [SOURCE, TARGET]) await admin.query(`CREATE DATABASE ${database}`);
  await admin.query(`CREATE ROLE ${ROLE} LOGIN PASSWORD 'check'`);
  await run(SOURCE, SOURCE_SQL);
  await run(SOURCE, `GRANT USAGE ON SCHEMA public TO ${ROLE}; GRANT SELECT ON public.orders, public.secret TO ${ROLE}`);
});

afterAll(async () => {
  if (server === undefined) return;
  await clean();
  await admin.end();
});

test.skipIf(server === undefined)('a role without rights gets every grant to ask for', async () => {
  const { code, report, of } = await check(
    configOf(urlOf(SOURCE, ROLE), urlOf(TARGET, ROLE), ['public.orders', 'public.log', 'public.secret']),
  );
  expect(code).toBe(1);
  expect(report.ok).toBe(false);
  expect(of('source.replication_role')?.fix).toContain(`ALTER ROLE "${ROLE}" REPLICATION`);
  expect(of('source.replication_connection')?.severity).toBe('block');
  expect(of('scope.select')?.fix).toBe(`GRANT SELECT ON "public"."log" TO "${ROLE}";`);
  expect(of('scope.sequences')?.fix).toContain('"public"."secret_id_seq"');
  expect(of('scope.row_security')?.evidence).toBe('public.secret');
  expect(of('scope.replica_identity')?.evidence).toContain('public.log');
  expect(of('source.publication')?.fix).toContain('CREATE PUBLICATION "checked" FOR TABLE ONLY "public"."log"');
  expect(of('target.create')?.fix).toContain('GRANT CREATE ON DATABASE');
  expect(of('target.replication_role')?.fix).toContain(`GRANT SET ON PARAMETER session_replication_role TO "${ROLE}"`);
  expect(report.findings.filter((finding) => finding.what.includes('could not run'))).toEqual([]);
  expect(JSON.stringify(report)).not.toContain(':check@');
});

test.skipIf(server === undefined)('names what stays outside, what the target lacks and what a rule needs', async () => {
  const orders: RuleConfig = {
    table: { schema: 'public', table: 'orders' },
    rename: null,
    renameColumns: new Map(),
    dropColumns: [],
    where: 'amount >= 0',
  };
  const lines: RuleConfig = {
    ...orders,
    table: { schema: 'public', table: 'lines' },
    dropColumns: ['itm'],
    where: null,
  };
  const { of, report } = await check(
    configOf(urlOf(SOURCE), urlOf(TARGET), ['public.orders', 'public.lines'], [orders, lines]),
  );
  expect(of('scope.foreign_keys')?.fix).toBe('add to source.tables: public.items');
  expect(of('scope.unlogged')?.fix).toBe('ALTER TABLE "public"."scratch" SET LOGGED;');
  expect(report.findings.filter((finding) => finding.id === 'rules').map((finding) => finding.fix)).toEqual([
    'did you mean item?',
    'ALTER TABLE "public"."orders" REPLICA IDENTITY FULL; -- or state: true in the rule, which keeps them in Kafka',
  ]);
  expect(of('target.tables')?.evidence).toContain('public.orders');
  expect(of('kafka.topics')?.evidence).toContain('127.0.0.1:1');
});

test.skipIf(server === undefined)(
  'a target without replica sessions: what cannot be met blocks, with the statement that mends it',
  async () => {
    await run(
      TARGET,
      `CREATE TABLE public.items (id int PRIMARY KEY);
     CREATE TABLE public.lines (id int PRIMARY KEY, item int REFERENCES public.items ON DELETE CASCADE);
     CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
     CREATE TRIGGER noted AFTER INSERT ON public.lines FOR EACH ROW EXECUTE FUNCTION public.nothing();
     GRANT CREATE ON DATABASE ${TARGET} TO ${ROLE}; ALTER TABLE public.items OWNER TO ${ROLE}`,
    );
    const config = configOf(urlOf(SOURCE), urlOf(TARGET, ROLE), ['public.lines', 'public.items']);
    const { of } = await check(config);
    expect(of('target.owner')?.fix).toBe(`ALTER TABLE "public"."lines" OWNER TO "${ROLE}";`);
    expect(of('target.replication_role')?.evidence).toContain('public.lines: noted');
    expect(of('target.foreign_keys')).toMatchObject({
      severity: 'block',
      evidence: expect.stringContaining('public.lines: lines_item_fkey'),
      fix: expect.stringContaining('ALTER TABLE "public"."lines" DROP CONSTRAINT "lines_item_fkey";'),
    });
    const granted = await check(configOf(urlOf(SOURCE), urlOf(TARGET), ['public.lines', 'public.items']));
    expect(granted.of('target.foreign_keys')).toBeUndefined();
    const copied = configOf(urlOf(SOURCE, ROLE), urlOf(TARGET, ROLE), ['public.orders']);
    const { of: ofCopy } = await check({
      ...copied,
      targets: copied.targets.map((one) => ({ ...one, schema: 'copy' })),
    });
    expect(ofCopy('scope.dump')?.fix).toContain('"public"."lines"');
    expect(ofCopy('target.create')?.fix).toBe(`GRANT USAGE, CREATE ON SCHEMA "public" TO "${ROLE}";`);
    await run(TARGET, `DROP TABLE public.lines, public.items; REVOKE CREATE ON DATABASE ${TARGET} FROM ${ROLE}`);
  },
);

test.skipIf(server === undefined)('finds nothing to block in a source and target that are ready', async () => {
  await run(TARGET, 'CREATE TABLE public.orders (id int PRIMARY KEY, amount numeric(10,2))');
  const config = configOf(urlOf(SOURCE), urlOf(TARGET), ['public.orders']);
  const { code, report } = await check(
    brokers === '' ? config : { ...config, kafka: { ...config.kafka, brokers: [brokers] } },
  );
  expect(code).toBe(brokers === '' ? 1 : 0);
  expect(report.findings.filter((finding) => finding.severity === 'block').map((finding) => finding.id)).toEqual(
    brokers === '' ? ['kafka.topics'] : [],
  );
  await run(TARGET, 'INSERT INTO public.orders VALUES (1, 1)');
  const { of } = await check(configOf(urlOf(SOURCE), urlOf(TARGET), ['public.orders']));
  expect(of('target.tables')?.fix).toContain('TRUNCATE public.orders');
});

/** A wrong rule or check each, in its own line, and what check says of it: what, and the fix. */
const BAD_RULES: readonly (readonly [string, RegExp, RegExp])[] = [
  ['rule { table: public.ordrs }', /a table that is not captured: public\.ordrs/, /did you mean public\.orders/],
  ['rule { table: public.orders, columns: { drop: [amuont] } }', /column amuont is not in the table/, /mean amount/],
  ['rule { table: public.lines, set: [{ column: x, type: int4, value: "itm + 1" }] }', /itm/, /item/],
  ['rule { table: public.sales_b, columns: { drop: [id] } }', /part of the row's identity/, /a key of its own/],
  ['rule { table: public.secret, where: \'matches(string(id), "(a)\\\\1")\' }', /pattern/, /RE2|backreference/i],
  ['rule { table: public.sales_a, columns: { cast: { v: nonsense } } }', /nonsense/, /./],
  ['check { table: public.orders, pattern: { column: amount, matches: "(?=x)" } }', /pattern|text/, /./],
  ['check { table: public.ordes, notNull: [id] }', /not captured: public\.ordes/, /did you mean public\.orders/],
  [
    'check { table: public.lines, reference: { table: public.itms, on: { id: item } } }',
    /not captured: public\.itms/,
    /did you mean public\.items/,
  ],
  ['check { table: public.lines, notNull: [itme] }', /column itme is not in public\.lines/, /did you mean item/],
];

test.skipIf(server === undefined)('each wrong rule is refused with its place in the file and a fix', async () => {
  await run(
    SOURCE,
    `CREATE TABLE public.sales_a (id int PRIMARY KEY, v int NOT NULL, big int8); CREATE TABLE public.sales_b (LIKE public.sales_a INCLUDING ALL);
     INSERT INTO public.sales_a VALUES (1, 7, 1), (2, 7, 1); INSERT INTO public.sales_b VALUES (2, 8, 1)`,
  );
  await run(
    TARGET,
    'CREATE TABLE public.narrow (id int PRIMARY KEY, v int NOT NULL, big int4, must text NOT NULL, may text NOT NULL DEFAULT 1)',
  );
  const lines = (kind: string): string[] =>
    BAD_RULES.flatMap(([line]) => (line.startsWith(kind) ? [`        - ${line.slice(kind.length)}`] : []));
  const text = [
    'name: wrong',
    'kafka: { brokers: ["127.0.0.1:1"] }',
    `source: { postgres: { url: "${urlOf(SOURCE)}" }, tables: ["public.*", "!public.log"] }`,
    'transform:',
    '  outputs:',
    '    - name: wrong',
    '      rules:',
    ...lines('rule'),
    '      validate:',
    ...lines('check'),
    '    - name: keys',
    '      tables: [public.sales_a, public.sales_b]',
    '      rules:',
    '        - { table: public.sales_a, rename: public.sales, key: [id] }',
    '        - { table: public.sales_b, rename: public.sales, key: [id] }',
    '    - { name: twice, tables: [public.sales_a], rules: [{ table: public.sales_a, rename: public.byv, key: [v], state: true }] }',
    '    - { name: narrow, tables: [public.sales_a], rules: [{ table: public.sales_a, rename: public.narrow }] }',
    '    - { name: again, tables: [public.sales_a], rules: [{ table: public.sales_a, rename: public.copies }] }',
    '    - { name: routed, tables: [public.sale_a, public.items], rules: [{ table: public.lines }] }',
    'targets:',
    `  - { name: new, output: narrow, schema: require, postgres: { url: "${urlOf(TARGET)}" } }`,
    `  - { name: home, output: again, schema: create, postgres: { url: "${urlOf(SOURCE)}" } }`,
  ];
  const { code, report } = await check(loadConfig(text.join('\n'), 'wrong.yaml', {}));
  expect(code).toBe(1);
  const blocking = report.findings.filter(({ severity }) => severity === 'block');
  const wrong: string[] = [];
  const expectOne = (place: string, what: RegExp, fix: RegExp): void => {
    const said = blocking.filter(({ evidence }) => evidence.includes(place)).map((one) => `${one.what} => ${one.fix}`);
    const [only = '', ...others] = said;
    const isRight = new RegExp(`${what.source}.* => .*${fix.source}`, 'is').test(only) && others.length === 0;
    if (!isRight) wrong.push(`${place} ${what.source}: ${said.join(' | ')}`);
  };
  for (const [line, what, fix] of BAD_RULES) {
    const at = text.findIndex((one) => one.endsWith(line.slice(line.indexOf(' '))));
    expectOne(`wrong.yaml:${at + 1}:`, what, fix);
  }
  const lineOf = (part: string): string => `wrong.yaml:${text.findIndex((one) => one.includes(part)) + 1}:`;
  expectOne(
    lineOf('public.sales_a, rename: public.sales,'),
    /rows clash on the key of public\.sales/,
    /a constant column/,
  );
  expectOne(lineOf('public.byv'), /rows clash on the key of public\.byv/, /a primary key or unique key/);
  expectOne(lineOf('name: routed'), /names a table that the output does not take: public\.lines/, /add public\.lines/);
  expectOne(
    'output routed: tables: public.sale_a, public.items',
    /no captured table matches "public\.sale_a"/,
    /mean public\.sales_a/,
  );
  expectOne('big is integer', /cannot take the events of the source/, /alter the columns/);
  expectOne('targets[].postgres.url of home', /a cycle/, /"!public\.copies"/);
  expect(wrong).toEqual([]);
  await run(TARGET, 'ALTER TABLE public.narrow ALTER big TYPE int8');
  const { of } = await check(loadConfig(text.join('\n'), 'wrong.yaml', {}));
  expect(of('target.tables')).toMatchObject({
    what: expect.stringContaining('no event brings a value') as string,
    evidence: 'target new: public.narrow: column must',
  });
});
