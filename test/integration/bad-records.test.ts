import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readTables } from '#adapters/postgres/catalog.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import type { TableStructure } from '#core/structure.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { PIPELINE, runSink, type MemorySink } from '../harness/memory-sink.ts';
import { MemoryTopics, SCHEMAS_TOPIC, type TestChange } from '../harness/memory-topics.ts';

const TABLE = 'CREATE TABLE public.item (id int PRIMARY KEY, name text)';
const DEEP = 1_000_000;

let database: TestDatabase;
let item: TableStructure;
let topics: MemoryTopics;

beforeAll(async () => {
  database = await createDatabase(15, 'bad_records');
  await database.client.query(TABLE);
  [item] = (await readTables(database.client, PIPELINE)) as [TableStructure];
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await database.client.query(
    `DROP SCHEMA IF EXISTS restage CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public; ${TABLE}`,
  );
  topics = new MemoryTopics('life-1');
  topics.plan(1, [item]);
  topics.tableEnd(1, item, 100);
  topics.end(1);
  topics.empty(101);
  await run('stop', 101);
});

function run(policy: QuarantinePolicy, through: number): Promise<MemorySink> {
  return runSink({ url: database.url, client: database.client, topics, policy }, through);
}

async function ids(): Promise<number[]> {
  return (await database.client.query<{ id: number }>('SELECT id FROM public.item ORDER BY id')).rows.map(
    ({ id }) => id,
  );
}

const add = (commit: number, id: number): TestChange => ({
  structure: item,
  commit,
  op: 'c',
  after: { id, name: 'x' },
});
const key = Buffer.from('{"id":2}');
const json = (value: unknown): NonNullable<TestChange['damage']> => ({
  key,
  value: Buffer.from(JSON.stringify(value)),
});
const after = { id: 2, name: 'x' };

/** What stands in the place of the insert of row 2, and what is said of it. */
const DAMAGE: readonly (readonly [string, NonNullable<TestChange['damage']>, RegExp])[] = [
  ['broken JSON', { key, value: Buffer.from('{"before":null,"after":{"id":2') }, /not JSON/],
  ['no bytes of text', { key, value: Buffer.from([0xff, 0xfe, 0, 1]) }, /not JSON/],
  ['JSON that is no object', json(7), /not an object/],
  ['an unknown op', json({ before: null, after, op: 'x' }), /op "x"/],
  ['an image that is a list', json({ before: null, after: { id: [2] }, op: 'c' }), /object or an array/],
  ['no image', json({ before: null, after: null, op: 'c' }), /image of the row is missing/],
  ['null where none may be', { key, value: null }, /no value/],
  [
    'nesting a million deep',
    { key, value: Buffer.from(`{"before":null,"op":"c","after":{"id":${'['.repeat(DEEP)}${']'.repeat(DEEP)}}}`) },
    /object or an array/,
  ],
];

describe.each(DAMAGE)('%s', (_, damage, says) => {
  beforeEach(() => {
    topics.stream([add(110, 1), { ...add(120, 2), damage }, add(120, 20), add(130, 3)]);
    topics.stream([{ structure: item, commit: 140, op: 'u', after: { id: 2, name: 'later' } }, add(150, 4)]);
  });

  it('stop: names topic, partition, offset and reason', async () => {
    await expect(run('stop', 151)).rejects.toMatchObject({
      code: 'record_invalid',
      message: expect.stringMatching(says),
      where: `topic ${item.topic}, partition 0, offset 1`,
    });
    expect(await ids()).toEqual([]);
  });

  it.each([
    ['transaction', [1, 3, 4], 3],
    ['row', [1, 3, 4, 20], 2],
  ] as const)('%s: one dead letter, and what waits behind its key', async (policy, applied, count) => {
    const { sent, status } = await run(policy, 151);
    expect(await ids()).toEqual(applied);
    expect(status.deadLetters).toBe(count);
    const letter = sent.find(({ stage }) => stage === 'read');
    expect(letter).toMatchObject({
      topic: item.topic,
      partition: 0,
      offset: 1n,
      code: 'record_invalid',
      rowKey: { id: '2' },
      behind: null,
      error: expect.stringMatching(says),
    });
    expect(letter?.value?.length).toBe(damage.value?.length);
  });
});

it('transaction: one that cannot be read in its second part is left out from its first on', async () => {
  topics.stream([add(110, 1), add(120, 20)], { last: false });
  topics.stream([{ ...add(120, 2), damage: { key, value: Buffer.from('{') } }, add(130, 3)]);
  const { status } = await run('transaction', 131);
  expect(await ids()).toEqual([1, 3]);
  expect(status.deadLetters).toBe(2);
});

it('a structure that nobody announced', async () => {
  const headers = new Map([...positionOf(120), ['structure', Buffer.from([0, 0, 0, 7])] as const]);
  topics.stream([add(110, 1), { ...add(120, 2), damage: { key, headers } }, add(130, 3)]);
  await expect(run('stop', 131)).rejects.toMatchObject({
    code: 'record_invalid',
    message: expect.stringContaining('structure 7'),
  });
  await run('transaction', 131);
  expect(await ids()).toEqual([1, 3]);
});

it('without its headers nobody knows whose transaction it is of: only `row` goes on, and its key waits', async () => {
  topics.stream([add(110, 1), { ...add(120, 2), damage: { key, headers: new Map() } }, add(130, 3)]);
  topics.stream([{ structure: item, commit: 140, op: 'u', after: { id: 2, name: 'later' } }, add(150, 4)]);
  await expect(run('transaction', 151)).rejects.toMatchObject({
    code: 'record_invalid',
    where: expect.stringContaining('offset 1'),
  });
  const { status } = await run('row', 151);
  expect(await ids()).toEqual([1, 3, 4]);
  expect(status).toMatchObject({ deadLetters: 2 });
});

it('without headers and key the whole table waits', async () => {
  topics.stream([add(110, 1), { ...add(120, 2), damage: { headers: new Map() } }]);
  topics.stream([add(130, 3)]);
  const { status } = await run('row', 131);
  expect(await ids()).toEqual([]);
  expect(status).toMatchObject({ deadLetters: 3 });
});

it('records that no manifest names are not read', async () => {
  topics.stray(item.topic, { key, value: Buffer.from('not ours'), headers: new Map() });
  topics.stray(SCHEMAS_TOPIC, { key: Buffer.from('x'), value: Buffer.from('not ours'), headers: new Map() });
  topics.stream([add(110, 1)]);
  topics.stray(item.topic, { key, value: null, headers: new Map() });
  topics.stream([add(120, 2)]);
  await run('stop', 121);
  expect(await ids()).toEqual([1, 2]);
});

it('a structure that a manifest names and that is none: a stop that says where', async () => {
  topics.stream([add(110, 1)], { named: { key: null, value: Buffer.from('not ours'), headers: new Map() } });
  await expect(run('row', 111)).rejects.toMatchObject({
    code: 'record_invalid',
    where: expect.stringMatching(new RegExp(`topic ${SCHEMAS_TOPIC}, partition 0, offset \\d+`)),
  });
});

/** The headers that say whose an event is. */
function positionOf(commit: number): (readonly [string, Buffer])[] {
  const pos = Buffer.alloc(16);
  pos.writeBigUInt64BE(BigInt(commit), 0);
  pos.writeBigUInt64BE(99n, 8);
  return [
    ['pos', pos],
    ['xid', Buffer.alloc(8)],
    ['epoch', Buffer.alloc(8)],
  ];
}
