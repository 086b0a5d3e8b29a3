import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModuleStage, type ModuleEvent, type ModuleOutcome } from '#core/module/module-stage.ts';
import { makeColumn, makeTable } from '../../../test/harness/structures.ts';
import { openModule } from './open-module.ts';

const orders = makeTable('shop', 'orders', [
  makeColumn('id', 'int4', { json: 'integer' }),
  makeColumn('what', 'text'),
  makeColumn('note', 'text'),
]);
const TABLES = `tables: { 'public.totals': { key: ['id'], columns: { id: 'int8', total: 'numeric(6,2)', note: 'text' } } }`;
const signal = new AbortController().signal;
let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'module-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** Runs changes of `orders` through a module whose function has this body. */
async function shape(body: string, events: readonly ModuleEvent[], limits = {}): Promise<ModuleOutcome[]> {
  const file = path.join(directory, 'transform.ts');
  await writeFile(
    file,
    `import { defineTransform, refuse, UNCHANGED, type Change } from 'restage/transform';
const kept: unknown[] = [];
const total = (what: string): string => what.length + '.50';
export default defineTransform({
  ${TABLES},
  'public.orders': (change: Change, { emit }) => { ${body} },
});
`,
  );
  const config = { file: 'transform.ts', memoryMb: 64, batchMs: 10_000, ...limits };
  const runner = await openModule(config, path.join(directory, 'restage.yaml'));
  try {
    return await new ModuleStage(runner, 'shop.shaped.main.v1').run(events, signal);
  } finally {
    await runner.close();
  }
}

function insert(id: number, what = 'x'): ModuleEvent {
  return change('c', null, { id, what, note: null });
}

function change(op: 'c' | 'u' | 'd', before: object | null, after: object | null): ModuleEvent {
  const { id } = (after ?? before) as { id: number };
  const event = { op, key: { id }, before, after } as ModuleEvent['event'];
  return { source: orders, event, at: { place: `topic t, partition 0, offset ${id}`, time: 1_700_000_000_000_001n } };
}

const rows = (outcomes: readonly ModuleOutcome[]): unknown[] =>
  outcomes.flatMap((one): unknown[] =>
    one.kind === 'events' ? one.events.map(({ event }) => event) : [one.error.message],
  );

const PASS = `if (change.op === 'd') return { table: 'public.totals', key: change.before };
  const { id, note } = change.after;
  return { table: 'public.totals', before: change.before, after: { id, total: total(String(change.after.what)), note } };`;

describe('a module', () => {
  it('gives rows, updates with unchanged values, key changes and deletes, with the types that it declares', async () => {
    const given = await shape(PASS, [
      insert(1, 'abc'),
      change('u', { id: 1, what: 'abc', note: null }, { id: 2, what: 'abcd', note: 'n' }),
      {
        ...change('u', null, { id: 2, what: '' }),
        source: { ...orders, identity: { ...orders.identity, isFull: false } },
      },
      change('d', { id: 2, what: 'abcd', note: 'n' }, null),
    ]);
    expect(rows(given)).toEqual([
      { op: 'c', key: { id: '1' }, before: null, after: { id: '1', total: '3.50', note: null } },
      { op: 'u', key: { id: '2' }, before: { id: '1' }, after: { id: '2', total: '4.50', note: 'n' } },
      { op: 'u', key: { id: '2' }, before: null, after: { id: '2', total: '0.50' } },
      { op: 'd', key: { id: '2' }, before: { id: '2' }, after: null },
    ]);
  });

  it('gives none, or many in order, and knows when the transaction was committed', async () => {
    const body = `if (change.after?.id === 1) return null;
      const row = (n: number) => ({ table: 'public.totals', op: 'c' as const, after: { id: BigInt(n), total: n, note: change.time } });
      emit(row(1)); return [row(2), row(3)];`;
    const [none, many] = await shape(body, [insert(1), insert(2)]);
    expect(none).toEqual({ kind: 'events', events: [] });
    expect(many === undefined ? [] : rows([many])).toMatchObject(
      [1, 2, 3].map((id) => ({ after: { id: String(id), total: `${id}.00`, note: '2023-11-14 22:13:20.000001+00' } })),
    );
  });

  it.each([
    [
      'a column too many',
      `{ id: 1, total: '1', note: null, extra: 1 }`,
      'column extra of public.totals: the table has no such column',
    ],
    ['a column too few', `{ id: 1, total: '1' }`, 'column note of public.totals: the row has no value for it'],
    ['undefined', `{ id: 1, total: '1', note: undefined }`, 'it gives undefined for column note'],
    [
      'a number for text',
      `{ id: 1, total: '1', note: 5 }`,
      'column note of public.totals: a number that is not exact is no text',
    ],
    ['a broken number', `{ id: 1, total: 0.1 + 0.2, note: null }`, 'a number that is not exact is no numeric(6,2)'],
    ['what the type does not hold', `{ id: 1, total: '12345', note: null }`, 'out of the range of numeric(6,2)'],
    ['no key', `{ id: null, total: '1', note: null }`, 'column id of public.totals: it is null'],
    ['unchanged in a new row', `{ id: 1, total: '1', note: UNCHANGED }`, 'a new row has UNCHANGED'],
  ])('fails a row with %s', async (_what, after, message) => {
    const [text] = rows(await shape(`return { table: 'public.totals', after: ${after} } as never;`, [insert(1)]));
    expect(text).toContain(message);
  });

  it.each([
    ['an unknown table', `return { table: 'public.total', after: {} };`, 'a table that the module does not declare'],
    ['a promise', `return Promise.resolve(null) as never;`, 'it gives a promise for a change'],
    ['the clock', `Date.now(); return null;`, 'Date is not there in a module'],
    ['a new date', `new Date(0); return null;`, 'Date is not there in a module'],
    ['chance', `Math.random(); return null;`, 'Math.random is not there'],
    ['secrets', `crypto.randomUUID(); return null;`, 'crypto.randomUUID is not there'],
    ['the other clock', `performance.now(); return null;`, 'performance.now is not there'],
    ['a timer', `setTimeout(() => 1, 1); return null;`, 'setTimeout is not there'],
    ['a language', `'a'.localeCompare('b'); return null;`, 'localeCompare is not there'],
    ['a reason of its own', `refuse('no total for it');`, 'no total for it'],
    ['words that hold a value', `throw new TypeError(String(change.after?.what));`, 'TypeError is thrown'],
    ['JSON', `JSON.parse(String(change.after?.what)); return null;`, 'SyntaxError is thrown'],
  ])('fails a row for %s, and says where without the value', async (_what, body, message) => {
    const [outcome] = await shape(body, [insert(7, 'secret value')]);
    const error = outcome?.kind === 'fault' ? outcome.error : null;
    expect(error).toMatchObject({ code: 'rule_failed' });
    expect(error?.message).toContain(message);
    expect(error?.where).toMatch(
      /^table public\.orders, key \{"id":7\}; topic t, partition 0, offset 7; transform\.ts/,
    );
    expect(`${error?.message} ${error?.where}`).not.toContain('secret');
  });

  it('says the line of its own code', async () => {
    const [outcome] = await shape(`throw new Error('x');`, [insert(1)]);
    expect(outcome?.kind === 'fault' ? outcome.error.where : '').toMatch(/; transform\.ts:6:\d+$/);
  });

  it.each([
    ['hangs', `if (change.after?.id === 3) for (;;);`, { batchMs: 500 }, 'takes longer than 500 ms'],
    [
      'backtracks',
      `if (change.after?.id === 3) /^(a+)+$/.test('a'.repeat(40) + 'b');`,
      { batchMs: 500 },
      'takes longer',
    ],
    ['fills the heap', `if (change.after?.id === 3) for (;;) kept.push({});`, {}, 'takes more than 64 MiB'],
    ['grows one array', `if (change.after?.id === 3) for (;;) kept.push(1.5);`, {}, 'takes more than 64 MiB'],
    [
      'takes memory outside',
      `if (change.after?.id === 3) for (;;) kept.push(new Uint8Array(1e7).fill(1));`,
      {},
      'more than 64 MiB',
    ],
  ])('that %s fails its row alone', async (_what, body, limits, message) => {
    const outcomes = await shape(
      `${body} ${PASS}`,
      [1, 2, 3, 4, 5].map((id) => insert(id)),
      limits,
    );
    expect(outcomes.map(({ kind }) => kind)).toEqual(['events', 'events', 'fault', 'events', 'events']);
    expect(rows(outcomes)[2]).toContain(message);
  });

  it('that leaks from row to row fails none: its process begins anew', async () => {
    const outcomes = await shape(
      `kept.push(new Array(1e6).fill(change.after?.id)); ${PASS}`,
      Array.from({ length: 30 }, (_, id) => insert(id)),
    );
    expect(outcomes.filter(({ kind }) => kind === 'fault')).toEqual([]);
    expect(outcomes).toHaveLength(30);
  });
});

describe('a module that is refused', () => {
  it.each([
    [
      'a syntax error',
      'export default { tables: {,} };',
      /does not compile: (Unexpected|Expected).*","/,
      /bad\.ts:1:27/,
    ],
    ['no export', 'export const x = 1;', /does not compile: No matching export/, /bad\.ts/],
    [
      "Node's own",
      `import fs from 'node:fs'; export default { tables: {}, 'a.b': () => fs };`,
      /node:fs is Node's own/,
      /bad\.ts:1:16/,
    ],
    [
      'a package that is not there',
      `import x from 'not-there'; export default x;`,
      /Could not resolve "not-there"/,
      /bad\.ts:1:15/,
    ],
    ['what throws', `\nthrow new Error('at its top');`, /cannot be loaded: Error: at its top/, /bad\.ts:2:7/],
    [
      'the clock at its top',
      'const now = Date.now(); export default { now };',
      /Date is not there in a module/,
      /bad\.ts/,
    ],
    ['no functions', 'export default { tables: {} };', /no function for a table/, /bad\.ts/],
    ['no tables', `export default { 'a.b': () => null };`, /no transform/, /bad\.ts/],
    [
      'a type',
      `export default { tables: { 'a.t': { key: ['id'], columns: { id: 'int9' } } }, 'a.b': () => null };`,
      /type "int9" is not known/,
      /bad\.ts, tables\['a\.t'\]/,
    ],
    [
      'a key',
      `export default { tables: { 'a.t': { key: ['x'], columns: { id: 'int8' } } }, 'a.b': () => null };`,
      /does not have: x/,
      /bad\.ts/,
    ],
    ['a name', `export default { tables: {}, orders: () => null };`, /"orders" names no table/, /bad\.ts/],
    [
      'from',
      `export default { tables: { 'a.t': { key: ['id'], columns: { id: 'int8' }, from: ['a.c'] } }, 'a.b': () => null };`,
      /from names a table without a function: a\.c/,
      /bad\.ts/,
    ],
  ])('%s', async (_what, text, message, where) => {
    await writeFile(path.join(directory, 'bad.ts'), text);
    await expect(open('bad.ts')).rejects.toMatchObject({
      code: 'rule_invalid',
      message: expect.stringMatching(message) as string,
      where: expect.stringMatching(where) as string,
    });
  });

  it.each([
    ['missing.ts', 'there is no such file'],
    ['.', 'it is no regular file'],
    ['/dev/null', 'it is no regular file'],
    ['notes.txt', 'its name ends in none of'],
  ])('%s', async (file, message) => {
    await writeFile(path.join(directory, 'notes.txt'), 'x');
    await expect(open(file)).rejects.toMatchObject({
      code: 'rule_invalid',
      message: expect.stringContaining(message) as string,
    });
  });

  function open(file: string): Promise<unknown> {
    return openModule({ file, memoryMb: 64, batchMs: 1_000 }, path.join(directory, 'restage.yaml'));
  }
});
