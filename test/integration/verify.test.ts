import type pg from 'pg';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { connectPg } from '#adapters/postgres/session.ts';
import type { Config } from '#core/config.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { VerifyReport } from '#core/verify/verify-report.ts';
import { lineProgress } from '../../services/cli/verify/verify-progress.ts';
import { verifyTables } from '../../services/cli/verify/verify-tables.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { until } from '../harness/until.ts';

const ROWS = 20_000;
const HOT_ROWS = 500;

const COMMON_SQL = `
  CREATE TYPE public.mood AS ENUM ('ok', 'sad');
  CREATE TABLE public.accounts (id int PRIMARY KEY, balance numeric, note text, tags text[], at timestamptz, ratio float8,
    doc jsonb, flag bool, day date, raw bytea, code char(6), uid uuid, mood public.mood, part numeric(10,2)[]);
  CREATE TABLE public.items (code text, n bigint, price numeric(12,4), PRIMARY KEY (n, code));
  CREATE TABLE public.branches (id int PRIMARY KEY, total bigint);
  CREATE TABLE public.history (account int, delta int, at timestamptz);
  ALTER TABLE public.history REPLICA IDENTITY FULL;
`;
const SOURCE_SQL = `${COMMON_SQL}
  CREATE TABLE public.payments (id bigint PRIMARY KEY, amount numeric(10,2), memo text, secret text);
  ALTER TABLE public.payments REPLICA IDENTITY FULL;
`;
const CHECKPOINT_SQL = `
  CREATE SCHEMA restage;
  CREATE TABLE restage.checkpoint (pipeline text PRIMARY KEY, through pg_lsn NOT NULL, load_done boolean NOT NULL, format int NOT NULL DEFAULT 1);
  INSERT INTO restage.checkpoint VALUES ('verified', '0/0', true);`;
const TARGET_SQL = `${COMMON_SQL}
  CREATE TABLE public.receipts (id bigint PRIMARY KEY, amount numeric, remark text);
  ${CHECKPOINT_SQL}
`;
const ROWS_SQL = `
  INSERT INTO public.accounts
    SELECT g, g * 1.10, CASE g % 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'NULL' ELSE 'note ' || g END, ARRAY['a', NULL, 'b' || g],
           '2026-01-01 00:00:00.000001+00'::timestamptz + g * interval '1 second', g / 3.0::float8, jsonb_build_object('n', g), g % 2 = 0,
           '2026-01-01'::date + g % 365, decode(md5(g::text), 'hex'), 'c' || g % 9, md5(g::text)::uuid, 'ok', ARRAY[g, 0.10]
      FROM generate_series(1, ${ROWS}) AS g;
  INSERT INTO public.items SELECT chr(65 + g % 57) || 'é"' || g, g, g / 7.0 FROM generate_series(1, 5000) AS g;
  INSERT INTO public.branches SELECT g, 0 FROM generate_series(1, 5) AS g;
  INSERT INTO public.history SELECT g % 10, g % 3, '2026-01-01' FROM generate_series(1, 2000) AS g;
`;
const SOURCE_ROWS_SQL = `${ROWS_SQL}
  INSERT INTO public.payments SELECT g, g - 10, 'memo ' || g, 'secret' FROM generate_series(1, 3000) AS g`;
const TARGET_ROWS_SQL = `${ROWS_SQL}
  INSERT INTO public.receipts SELECT g, (g - 10)::numeric(10,2), 'memo ' || g FROM generate_series(1, 3000) AS g WHERE g - 10 >= 0`;

const RULE: RuleConfig = {
  table: { schema: 'public', table: 'payments' },
  rename: { schema: 'public', table: 'receipts' },
  renameColumns: new Map([['memo', 'remark']]),
  dropColumns: ['secret'],
  where: 'amount >= 0',
};

/** Each: what is done to the target, and the difference that has to be found, as `table key kind columns`. */
const FAULTS: readonly (readonly [string, string])[] = [
  ['UPDATE accounts SET balance = trim_scale(balance) WHERE id = 1000', 'accounts id=1000 changed balance'],
  [`UPDATE accounts SET note = '' WHERE id = 1005`, 'accounts id=1005 changed note'],
  [`UPDATE accounts SET note = NULL WHERE id = 1006`, 'accounts id=1006 changed note'],
  [`UPDATE accounts SET note = NULL WHERE id = 1007`, 'accounts id=1007 changed note'],
  [`UPDATE accounts SET note = 'note ' || (2017 - id) WHERE id IN (1008, 1009)`, 'accounts id=1008 changed note'],
  ['SELECT', 'accounts id=1009 changed note'],
  [`UPDATE accounts SET tags = ARRAY['a', 'NULL', 'b1010'] WHERE id = 1010`, 'accounts id=1010 changed tags'],
  [`UPDATE accounts SET at = at + interval '1 microsecond' WHERE id = 1011`, 'accounts id=1011 changed at'],
  ['UPDATE accounts SET ratio = ratio + 1e-13 WHERE id = 1012', 'accounts id=1012 changed ratio'],
  [`UPDATE accounts SET doc = '{"n": "1013"}' WHERE id = 1013`, 'accounts id=1013 changed doc'],
  ['UPDATE accounts SET flag = NOT flag WHERE id = 1014', 'accounts id=1014 changed flag'],
  ['UPDATE accounts SET day = day + 1 WHERE id = 1015', 'accounts id=1015 changed day'],
  [`UPDATE accounts SET raw = set_bit(raw, 3, 1 - get_bit(raw, 3)) WHERE id = 1016`, 'accounts id=1016 changed raw'],
  [`UPDATE accounts SET code = 'C5' WHERE id = 1017`, 'accounts id=1017 changed code'],
  [`UPDATE accounts SET mood = 'sad' WHERE id = 1018`, 'accounts id=1018 changed mood'],
  [`UPDATE accounts SET part[2] = NULL, uid = NULL WHERE id = 1019`, 'accounts id=1019 changed uid,part'],
  ['DELETE FROM accounts WHERE id = 1020', 'accounts id=1020 missing '],
  [`INSERT INTO accounts (id, balance) VALUES (-1, 1)`, 'accounts id=-1 extra '],
  ['UPDATE items SET price = price + 0.0001 WHERE n = 77', 'items n=77,code=Ué"77 changed price'],
  [`UPDATE receipts SET remark = remark || ' ' WHERE id = 100`, 'receipts id=100 changed remark'],
  [`UPDATE receipts SET amount = '90.0' WHERE id = 100`, ''],
  [`INSERT INTO receipts VALUES (5, -5, 'memo 5')`, 'receipts id=5 extra '],
  [
    `DELETE FROM history WHERE ctid = (SELECT ctid FROM history WHERE account = 3 AND delta = 1 AND at = '2026-01-01' LIMIT 1)`,
    'history row=* missing ',
  ],
  [`INSERT INTO history VALUES (99, 99, '2026-01-01')`, 'history row=* extra '],
];
const EXPECTED = FAULTS.map(([, difference]) =>
  difference === 'receipts id=100 changed remark' ? 'receipts id=100 changed amount,remark' : difference,
)
  .filter((difference) => difference !== '')
  .toSorted();

test('20 faults in single values are found while rows change on both sides, and none that is not there', async () => {
  await using source = await createDatabase(15, 'verify_source');
  await using target = await createDatabase(18, 'verify_target');
  await fill(source, `${SOURCE_SQL}${SOURCE_ROWS_SQL}`);
  await fill(target, `${TARGET_SQL}${TARGET_ROWS_SQL}`);
  await using traffic = await Traffic.start(source.url, target.url);

  expect(shortOf(await verify(source, target))).toEqual({ different: [], unverified: [], verdict: 'equal' });

  for (const [sql] of FAULTS) await fill(target, sql);
  const report = await verify(source, target);
  expect(shortOf(report)).toEqual({ different: EXPECTED, unverified: [], verdict: 'different' });
  expect(JSON.stringify(report)).not.toContain('note 1009');
  expect(traffic.transactions).toBeGreaterThan(200);
});

test('a row that differs while the sink stands still is not verified', async () => {
  await using source = await createDatabase(15, 'verify_source');
  await using target = await createDatabase(18, 'verify_target');
  await fill(source, `${SOURCE_SQL}${SOURCE_ROWS_SQL}`);
  await fill(target, `${TARGET_SQL}${TARGET_ROWS_SQL}`);
  await fill(target, 'UPDATE branches SET total = 1 WHERE id = 2');
  expect(shortOf(await verify(source, target, 600))).toEqual({
    different: [],
    unverified: ['branches id=2'],
    verdict: 'unverified',
  });
  await fill(target, 'UPDATE restage.checkpoint SET load_done = false');
  expect((await verify(source, target)).reason).toContain('load is not done');
});

test('rows that rules compute are compared by the same rules; without a sink to hold, what differs is open', async () => {
  await using source = await createDatabase(15, 'verify_source');
  await using target = await createDatabase(18, 'verify_target');
  await fill(
    source,
    `CREATE TABLE a (id int PRIMARY KEY, n numeric(10,2), tags text[]);
     ALTER TABLE a REPLICA IDENTITY FULL;
     CREATE TABLE b (id int PRIMARY KEY, n numeric(10,2));
     INSERT INTO a SELECT g, g, ARRAY['t' || g, 'u'] FROM generate_series(1, 300) g;
     INSERT INTO b SELECT g, g + 0.5 FROM generate_series(1, 300) g;
     INSERT INTO b VALUES (999, 99999999)`,
  );
  await fill(
    target,
    `CREATE TABLE joint (part text, id int, n numeric(6,2), PRIMARY KEY (part, id));
     CREATE TABLE tags (a int, at bigint, tag varchar(4), seen timestamptz, PRIMARY KEY (a, at));
     INSERT INTO joint SELECT 'a', g, g FROM generate_series(1, 300) g;
     INSERT INTO joint SELECT 'b', g, g + 0.5 FROM generate_series(1, 300) g;
     INSERT INTO tags SELECT g, 1, 't' || g, now() FROM generate_series(1, 300) g;
     INSERT INTO tags SELECT g, 2, 'u', now() FROM generate_series(1, 300) g;
     ${CHECKPOINT_SQL}`,
  );
  const rule = (table: string, rename: string, more: Partial<RuleConfig>): RuleConfig => ({
    table: { schema: 'public', table },
    rename: { schema: 'public', table: rename },
    renameColumns: new Map(),
    dropColumns: [],
    where: null,
    ...more,
  });
  const part = (value: string): Partial<RuleConfig> => ({
    key: ['part', 'id'],
    setColumns: [{ column: 'part', type: 'text', value: `"${value}"` }],
  });
  const rules = [
    rule('a', 'joint', { ...part('a'), dropColumns: ['tags'] }),
    rule('b', 'joint', { ...part('b'), castColumns: new Map([['n', 'numeric(6,2)']]) }),
    rule('a', 'tags', {
      key: ['a', 'at'],
      renameColumns: new Map([['id', 'a']]),
      dropColumns: ['n', 'tags'],
      unnest: { column: 'tags', as: 'tag', position: 'at' },
      setColumns: [{ column: 'seen', type: 'timestamptz', value: 'event.time' }],
    }),
  ];
  const first = await verify(source, target, 600, rules);
  // A rule that fails for a row says so, by its key at the source; the others are equal.
  expect(shortOf(first)).toEqual({ different: [], unverified: ['joint id=999'], verdict: 'unverified' });
  expect(first.tables[0]?.unverified[0]?.reason).toContain('rule for public.b as public.joint: rule_failed');
  expect(JSON.stringify(first)).not.toContain('99999999');
  expect(first.tables[1]).toMatchObject({ rows: 600, columnsLeft: ['seen'] });
  await fill(source, 'DELETE FROM b WHERE id = 999');
  expect(await verify(source, target, 600, rules)).toMatchObject({ verdict: 'equal' });

  await fill(target, `UPDATE joint SET n = 0 WHERE part = 'b' AND id = 7; DELETE FROM tags WHERE a = 8 AND at = 2`);
  expect(shortOf(await verify(source, target, 600, rules))).toEqual({
    different: [],
    unverified: ['joint part=b,id=7', 'tags a=8,at=2'],
    verdict: 'unverified',
  });
});

async function verify(
  source: TestDatabase,
  target: TestDatabase,
  patienceMs = 30_000,
  rules: readonly RuleConfig[] = [RULE],
): Promise<VerifyReport> {
  const config: Config = {
    name: 'verified',
    file: 'test',
    outputs: [{ name: 'main', version: 1, rules }],
    http: { host: '127.0.0.1', port: 0 },
    epoch: { bytes: 1, lingerMs: 1, partBytes: 1 },
    kafka: { brokers: ['127.0.0.1:1'], ssl: false, sasl: null, replicationFactor: 1 },
    source: {
      url: source.url,
      tables: ['*'],
      publication: 'p',
      slot: 's',
      partitions: 'leaves',
      snapshotWorkers: 1,
      heartbeatMs: 1,
      onRewrite: 'snapshot',
      keepSnapshotMinutes: 0,
      walBudget: { bytes: 1e10, whenFull: 'wait' },
    },
    targets: [{ name: 'new', url: target.url, output: 'main', schema: 'require', loadWorkers: 1 }],
  };
  const [to] = config.targets;
  if (to === undefined) throw new Error('no target');
  return await verifyTables(config, to, {
    logger: pino({ level: 'silent' }),
    progress: lineProgress(() => undefined, Date.now),
    signal: new AbortController().signal,
    clock: Date.now,
    patienceMs,
    takeExact: () => Promise.resolve('nobody holds the sink'),
  });
}

function shortOf(report: VerifyReport): { different: string[]; unverified: string[]; verdict: string } {
  const keyOf = (key: Readonly<Record<string, string>>): string =>
    Object.entries(key)
      .map(([name, value]) => `${name}=${name === 'row' ? '*' : value}`)
      .join(',');
  return {
    different: report.tables
      .flatMap(({ targetTable, different }) =>
        different.map(({ key, kind, columns }) => `${targetTable.table} ${keyOf(key)} ${kind} ${columns.join(',')}`),
      )
      .toSorted(),
    unverified: report.tables.flatMap(({ targetTable, unverified }) =>
      unverified.map(({ key }) => `${targetTable.table} ${keyOf(key)}`),
    ),
    verdict: report.verdict,
  };
}

async function fill(database: TestDatabase, sql: string): Promise<void> {
  await database.client.query(`SET search_path = public; ${sql}`);
}

/** A writer at the source, and in the place of a sink: its transactions at the target, several at once, with the position. */
class Traffic implements AsyncDisposable {
  readonly #source: pg.Client;
  readonly #target: pg.Client;
  readonly #queue: { readonly sql: string; readonly lsn: string }[] = [];
  #transactions = 0;
  #isStopping = false;
  #loops: Promise<unknown> = Promise.resolve();

  private constructor(source: pg.Client, target: pg.Client) {
    this.#source = source;
    this.#target = target;
  }

  static async start(sourceUrl: string, targetUrl: string): Promise<Traffic> {
    const open = (url: string): Promise<pg.Client> =>
      connectPg({ url, purpose: 'source', application: 'traffic', settings: { search_path: 'public' } });
    const traffic = new Traffic(await open(sourceUrl), await open(targetUrl));
    traffic.#loops = Promise.all([traffic.#write(), traffic.#apply()]);
    await until(() => traffic.transactions > 20, { what: 'some traffic' });
    return traffic;
  }

  get transactions(): number {
    return this.#transactions;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true;
    await this.#loops;
    await Promise.all([this.#source.end(), this.#target.end()]);
  }

  async #write(): Promise<void> {
    for (let n = 1; !this.#isStopping; n += 1) {
      const sql = `
        UPDATE accounts SET balance = balance + ${n % 7}.50, note = 'by ${n}' WHERE id = ${1 + (n % HOT_ROWS)};
        UPDATE branches SET total = total + ${n % 11} WHERE id = ${1 + (n % 5)};
        INSERT INTO history VALUES (${n % 10}, ${n}, '2026-02-02');
        INSERT INTO accounts (id, balance) VALUES (${1_000_000 + n}, ${n});
        DELETE FROM accounts WHERE id = ${1_000_000 + n - 3}`;
      const amount = (n % 3) - 1;
      await this.#source.query(
        `BEGIN; ${sql}; INSERT INTO payments VALUES (${10_000 + n}, ${amount}, 'm', 's'); COMMIT`,
      );
      const { rows } = await this.#source.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
      const payment = amount < 0 ? '' : `; INSERT INTO receipts VALUES (${10_000 + n}, ${amount}.00, 'm')`;
      this.#queue.push({ sql: `${sql}${payment}`, lsn: rows[0]?.lsn ?? '0/0' });
      this.#transactions += 1;
    }
  }

  async #apply(): Promise<void> {
    while (!this.#isStopping) {
      const taken = this.#queue.splice(0, 40);
      const through = taken.at(-1)?.lsn;
      const move = through === undefined ? 'SELECT' : `UPDATE restage.checkpoint SET through = '${through}'`;
      await this.#target.query(`BEGIN; ${taken.map(({ sql }) => sql).join('; ')}; ${move}; COMMIT`);
    }
  }
}
