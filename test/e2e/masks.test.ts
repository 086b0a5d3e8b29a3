import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { openAdmin } from '../harness/kafka-admin.ts';
import { waitForTarget } from '../harness/pipeline-run.ts';
import { readTopics, type ReadRecord } from '../harness/topic-records.ts';
import { testKafka } from '../harness/servers.ts';

const KEYS = { MASK_KEY_1: 'a secret of thirty-two characters', RESTAGE_LOG: 'debug' };
/** Every secret has one of these, in the form that PostgreSQL gives it. */
const SECRET = /zqxj|918273645\d{3}|a0eebc99-9c0b/i;
const TABLES = ['keyed', 'whole', 'heap', 'open'] as const;

const COLUMNS = `
  email text NOT NULL, ssn int8, phone varchar(40), nick text, note text, big text, big2 text, ref uuid, shown text`;
const SCHEMA_SQL = `
  CREATE TABLE public.keyed (id int8 PRIMARY KEY, code text NOT NULL UNIQUE, ${COLUMNS});
  CREATE TABLE public.whole (code text PRIMARY KEY, ${COLUMNS});
  CREATE TABLE public.heap (${COLUMNS});
  CREATE TABLE public.open (id int8 PRIMARY KEY, ${COLUMNS});
  ALTER TABLE public.whole REPLICA IDENTITY FULL;
  ALTER TABLE public.heap REPLICA IDENTITY FULL;
  CREATE INDEX ON public.keyed (note);
  ALTER TABLE public.keyed ADD CHECK (note <> 'impossible');
  ${TABLES.map((table) => `ALTER TABLE public.${table} ALTER big SET STORAGE EXTERNAL, ALTER big2 SET STORAGE EXTERNAL;`).join('\n')}`;

const MASKS = `email: { method: hmac, key: k1 }
        ssn: { method: format, key: k1 }
        phone: { method: format, key: k1 }
        nick: { method: partial, keepFirst: 1 }
        big: { method: hmac, key: k1 }
        ref: { method: hmac, key: k1 }`;
const CAPTURE = `
  columns:
    - table: public.keyed
      exclude: [note, big2]
      mask:
        ${MASKS}
        id: { method: format, key: k1 }
        code: { method: hmac, key: k1 }
    - table: public.whole
      exclude: [note, big2]
      mask:
        ${MASKS}
        code: { method: format, key: k1 }
    - table: public.heap
      exclude: [note, big2]
      mask:
        ${MASKS}`;
const MASK_KEYS = 'masks: { keys: { k1: "${MASK_KEY_1}" } }';

let source: TestDatabase;
let target: TestDatabase;
let folder: string;

beforeAll(async () => {
  for (const [name, value] of Object.entries(KEYS)) vi.stubEnv(name, value);
  source = await createDatabase(15, 'masks_source');
  target = await createDatabase(15, 'masks_target');
  folder = await mkdtemp(path.join(tmpdir(), 'restage-masks-'));
  await source.client.query(SCHEMA_SQL);
  for (let at = 1; at <= 40; at += 1) await insert(at);
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('values masked or left out at capture are in no topic, log or table of the target', async () => {
  const masked = await configFor('masked', CAPTURE, `targets: [{ name: new, postgres: { url: "${target.url}" } }]`);
  const debezium = await configFor('debezium', `${CAPTURE}\n  profile: debezium`, '');
  await using run = startCli(['run', '-c', masked.file]);
  await using events = startCli(['producer', '-c', debezium.file]);
  await waitForTarget(masked.file, run);
  await changeRows();
  await waitForTarget(masked.file, run);

  await expectMaskedRows();
  // The table without masks shows that secrets are found where they are.
  for (const { name } of [masked, debezium])
    expect(await secretsIn(await recordsOf(name))).toEqual([`${name}.public.open`]);
  expect(await secretsAtTarget()).toEqual(['public.open']);
  await expectVerified(masked.file, run);
  for (const process of [run, events]) expect(process.stdout() + process.stderr()).not.toMatch(SECRET);
  expect(run.stderr().length * events.stderr().length).toBeGreaterThan(0);

  await run.drain();
  await expectRefused(masked.file);
});

async function insert(at: number): Promise<void> {
  const big = `zqxj${'x'.repeat(3000)}${at}`;
  const values = [
    `zqxj${at}@example.org`,
    `918273645${100 + at}`,
    `zqxj +49 ${at}`,
    `nick-zqxj${at}`,
    `note-zqxj${at}`,
    big,
    big,
  ];
  const rest = `$1, $2, $3, $4, $5, $6, $7, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 'shown ${at}'`;
  await source.client.query(`INSERT INTO public.keyed SELECT ${at}, 'code-zqxj' || ${at}, ${rest}`, values);
  await source.client.query(`INSERT INTO public.whole SELECT 'code-zqxj' || ${at}, ${rest}`, values);
  await source.client.query(`INSERT INTO public.heap SELECT ${rest}`, values);
  await source.client.query(`INSERT INTO public.open SELECT ${at}, ${rest}`, values);
}

/** Inserts, updates with unchanged TOAST, key changes and deletes, the last of which ends the reading of the topics. */
async function changeRows(): Promise<void> {
  for (let at = 41; at <= 45; at += 1) await insert(at);
  for (const table of TABLES) {
    await source.client.query(`UPDATE public.${table} SET shown = 'changed' WHERE email = 'zqxj3@example.org'`);
    await source.client.query(
      `UPDATE public.${table} SET email = 'zqxj-new@example.org', ssn = NULL WHERE email = 'zqxj4@example.org'`,
    );
    await source.client.query(`UPDATE public.${table} SET note = 'other-zqxj' WHERE email = 'zqxj5@example.org'`);
    await source.client.query(`DELETE FROM public.${table} WHERE email = 'zqxj6@example.org'`);
  }
  await source.client.query(`UPDATE public.keyed SET id = 1007, code = 'moved-zqxj' WHERE id = 7`);
  await source.client.query(`UPDATE public.whole SET code = 'moved-zqxj' WHERE code = 'code-zqxj7'`);
  for (const table of TABLES)
    await source.client.query(
      `UPDATE public.${table} SET shown = 'shown-last', phone = 'last-zqxj' WHERE email = 'zqxj8@example.org'`,
    );
}

async function expectMaskedRows(): Promise<void> {
  const columns = await target.client.query<{ name: string }>(
    `SELECT attname AS name FROM pg_attribute WHERE attrelid = 'public.keyed'::regclass AND attnum > 0 AND NOT attisdropped`,
  );
  expect(columns.rows.map(({ name }) => name)).toEqual('id code email ssn phone nick big ref shown'.split(' '));
  for (const table of TABLES) {
    const [from, to] = await Promise.all(
      [source, target].map(async ({ client }) => {
        const { rows } = await client.query<{ shown: string; rows: string; big: string; ssn: string }>(
          `SELECT shown, count(*)::text AS rows, count(DISTINCT big)::text AS big, count(DISTINCT ssn)::text AS ssn
             FROM public.${table} GROUP BY shown ORDER BY shown`,
        );
        return rows;
      }),
    );
    expect(to).toEqual(from);
  }
  const { rows } = await target.client.query<Record<string, string>>(
    `SELECT email, ssn, phone, nick, ref FROM public.whole WHERE shown = 'shown 9'`,
  );
  expect(rows).toEqual([
    {
      email: expect.stringMatching(/^[\da-f]{64}$/) as string,
      ssn: expect.stringMatching(/^[1-9]\d{11}$/) as string,
      phone: expect.stringMatching(/^[a-z]{4} \+\d\d \d$/) as string,
      nick: 'n*********',
      ref: expect.stringMatching(/^[\da-f]{8}-[\da-f]{4}-8/) as string,
    },
  ]);
}

async function expectVerified(file: string, run: CliProcess): Promise<void> {
  await target.client.query(`UPDATE public.heap SET shown = 'spoilt' WHERE shown = 'shown 10'`);
  await target.client.query(`UPDATE public.whole SET nick = 'spoilt' WHERE shown = 'shown 10'`);
  await target.client.query(`UPDATE public.keyed SET phone = 'spoilt' WHERE shown = 'shown 11'`);
  const spoilt = await runCli(['verify', '-c', file, '--target', 'new', '--json']);
  expect(spoilt, run.stderr()).toMatchObject({ code: 1 });
  const { tables } = JSON.parse(spoilt.stdout) as {
    tables: { table: { table: string }; different: { kind: string; columns: string[] }[] }[];
  };
  const found = new Map(tables.map(({ table, different }) => [table.table, different]));
  expect(found.get('keyed')).toMatchObject([{ kind: 'changed', columns: ['phone'] }]);
  expect(found.get('whole')).toMatchObject([{ kind: 'changed', columns: ['nick'] }]);
  expect(
    found
      .get('heap')
      ?.map(({ kind }) => kind)
      .toSorted(),
  ).toEqual(['extra', 'missing']);
  expect(found.get('open')).toEqual([]);
  expect(spoilt.stdout + spoilt.stderr).not.toMatch(SECRET);
}

/** Another key under the same id is refused, by the column's name. */
async function expectRefused(file: string): Promise<void> {
  const other = { ...KEYS, MASK_KEY_1: 'another secret of as many letters' };
  const rekeyed = await runCli(['producer', '-c', file], other);
  expect(rekeyed).toMatchObject({ code: 4 });
  expect(rekeyed.stderr).toMatch(/column \w+ was captured masked by \w+\(k1#[\da-f]{8}.*, and now it is to be masked/);
  expect(rekeyed.stderr).not.toMatch(/letters|characters/);
}

async function configFor(
  label: string,
  capture: string,
  targets: string,
  file = `${label}.yaml`,
): Promise<{ file: string; name: string }> {
  const name = `${source.name.replaceAll('_', '-')}-${label}`;
  const at = path.join(folder, file);
  const keys = capture.includes('mask:') ? MASK_KEYS : '';
  await writeFile(
    at,
    `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source:
  postgres: { url: "${source.url}" }${capture}
${keys}
${targets}
`,
  );
  return { file: at, name };
}

/** Everything on a pipeline's topics, up to the last change of every table. */
async function recordsOf(name: string): Promise<ReadRecord[]> {
  await using admin = await openAdmin();
  const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(`${name}.`));
  const open = new Set<string>();
  for (const topic of topics) {
    const [offsets] = await admin.fetchTopicOffsets(topic);
    if (offsets !== undefined && offsets.high !== offsets.low) open.add(topic);
  }
  const ended = new Set<string>();
  const records = await readTopics(topics, (_all, { topic, value }) => {
    open.delete(topic);
    if (value?.includes('shown-last') === true) ended.add(topic);
    return ended.size === TABLES.length && open.size === 0;
  });
  expect([...ended]).toHaveLength(TABLES.length);
  return records;
}

async function secretsIn(records: readonly ReadRecord[]): Promise<string[]> {
  const found = records.filter(({ key, value, headers }) =>
    [key, value, ...headers.values(), ...[...headers.keys()].map((header) => Buffer.from(header))].some(
      (bytes) => bytes !== null && SECRET.test(bytes.toString('latin1')),
    ),
  );
  return [...new Set(found.map(({ topic }) => topic))];
}

/** Every table there, the pipeline's state too, row by row as text. */
async function secretsAtTarget(): Promise<string[]> {
  const { rows } = await target.client.query<{ name: string }>(
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname IN ('public', 'restage')`,
  );
  const found: string[] = [];
  for (const { name } of rows) {
    const texts = await target.client.query<{ row: string }>(`SELECT t::text AS row FROM ${name} t`);
    if (texts.rows.some(({ row }) => SECRET.test(row))) found.push(name);
  }
  expect(rows.length).toBeGreaterThan(3);
  return found;
}
