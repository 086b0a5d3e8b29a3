import { describe, expect, it } from 'vitest';
import type { FailureAction, ValidationConfig } from '#core/rules/validation-config.ts';
import {
  addManifest,
  changeEntry,
  loadedHistory,
  RAW,
  rowEntry,
  SHAPED,
  textsOf,
  transformHistory,
  waitingCodes,
  waitingLetters,
  type Entry,
  type MemoryHistory,
} from '../../test/harness/memory-history.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';

const customers = makeTable(RAW, 'customers', [makeColumn('id', 'int4'), makeColumn('name', 'text')]);
const orders = makeTable(RAW, 'orders', [
  makeColumn('id', 'int4'),
  makeColumn('cust', 'int4'),
  makeColumn('code', 'text'),
]);
const ORDERS = `${SHAPED}.public.orders`;
const ORDERS_TABLE = { schema: 'public', table: 'orders' };
const LOAD = [order('r', 1, 1, 'a'), order('r', 2, 9, 'b'), order('r', 3, 1, 'a'), order('r', 4, null, null)];
const STREAM = [
  // The row that is referred to comes later in the transaction, and unique values are swapped.
  [order('c', 5, 3, 'c', 0x20, 1), order('c', 6, 3, 'd', 0x20, 2), customer('c', 3, 0x20, 3)],
  [order('u', 5, 3, 'd', 0x21, 1), order('u', 6, 3, 'c', 0x21, 2)],
  [order('c', 7, 77, 'e', 0x22, 1), order('c', 8, 1, 'f', 0x22, 2)],
  [order('c', 9, 1, 'd', 0x23, 1)],
  [order('d', 5, 3, 'd', 0x24, 1), order('c', 10, 1, 'd', 0x24, 2)],
  [customer('c', 77, 0x25, 1), order('c', 11, 77, 'g', 0x25, 2)],
];

describe('checks of rows against others', () => {
  it.each<[FailureAction, string[], number]>([
    ['row', ['r 1', 'r 4', 'c 5', 'c 6', 'u 5', 'u 6', 'c 8', 'd 5', 'd 5', 'c 10', 'c 11'], 4],
    ['transaction', ['r 1', 'r 4', 'c 5', 'c 6', 'u 5', 'u 6', 'd 5', 'd 5', 'c 10', 'c 11'], 5],
    [
      'count',
      [
        ...LOAD.map((_, at) => `r ${at + 1}`),
        'c 5',
        'c 6',
        'u 5',
        'u 6',
        'c 7',
        'c 8',
        'c 9',
        'd 5',
        'd 5',
        'c 10',
        'c 11',
      ],
      0,
    ],
  ])('%s: what the transaction leaves is judged, wherever the transformer is stopped', async (action, given, waits) => {
    for (const epochs of [[STREAM.flat()], STREAM]) {
      const kafka = history(epochs);
      const { validation } = await transformHistory(kafka, options(action));
      expect(textsOf(kafka, ORDERS)).toEqual(given);
      expect(waitingLetters(kafka).size).toBe(waits);
      expect(validation?.checks).toMatchObject([{ failed: 2 }, { failed: action === 'count' ? 3 : 2 }]);
      expect(validation?.checks[0]?.examples[0]).toMatch(/shop\.public\.orders.*offset 1: id=2, cust=9/);
      for (let stop = 1; stop < kafka.out.length; stop += 1) {
        const again = history(epochs);
        await transformHistory(again, { ...options(action), writes: stop });
        await transformHistory(again, options(action));
        expect(textsOf(again, ORDERS)).toEqual(given);
        expect(waitingCodes(again)).toEqual(waitingCodes(kafka));
      }
    }
  });

  it('counts each row once, also where its transaction was shaped again without another', async () => {
    const { validation } = await transformHistory(history(STREAM), options('row'));
    // Two rows of the load and seven changes of the stream are passed on and leave a row.
    expect(validation?.checks.map(({ passed }) => passed)).toEqual([9, 9]);
  });

  it('holds no row of a load against a table of another snapshot', async () => {
    const kafka = history([]);
    const { schema, table, topic } = orders;
    const planned = { schema, table, topic };
    const late = { load: 2, through: '0/40' };
    addManifest(kafka, { kind: 'announce', ...late, tables: [{ ...planned, chunks: 0, rows: 0 }] });
    addManifest(kafka, { kind: 'plan', ...late, tables: [{ ...planned, chunks: 1, rows: 0 }] });
    // Customer 50 came between the announcement and the snapshot.
    addManifest(kafka, { kind: 'chunk', ...late, chunk: 0, rows: 2, table: planned }, [
      order('r', 30, 50, 'y'),
      order('r', 31, 1, 'y'),
    ]);
    addManifest(kafka, { kind: 'tableEnd', ...late, snapshot: '0/45', table: planned });
    addManifest(kafka, { kind: 'end', ...late, loaded: true });
    addManifest(kafka, { kind: 'stream', through: '0/60', epoch: 9 }, [
      customer('c', 50, 0x42),
      order('c', 32, 51, 'z', 0x50),
    ]);
    for (let stop = 99; stop > 0; stop = stop === 99 ? 16 : stop - 1) {
      const again = { ...kafka, out: [], transactions: [], records: new Map(kafka.records) };
      await transformHistory(again, { ...options('row'), writes: stop });
      await transformHistory(again, options('row'));
      const waiting = waitingLetters(again).all();
      // The rows of the first load went with it; of two with one code the second waits.
      expect(waiting.map(({ rowKey, error }) => [rowKey?.['id'], /same code|no such row/.exec(error)?.[0]])).toEqual([
        ['31', 'same code'],
        ['32', 'no such row'],
      ]);
    }
  });

  it('stops by default', async () => {
    await expect(transformHistory(history(STREAM), options('stop'))).rejects.toMatchObject({
      code: 'rule_failed',
      message: expect.stringContaining('no such row in public.customers') as string,
      where: expect.stringContaining('offset 1') as string,
    });
  });

  it.each<[string, Entry, number]>([
    ['comes in a later part', customer('c', 88, 0x50, 2), 0],
    ['does not come', customer('c', 89, 0x50, 2), 2],
  ])('of a transaction in several parts, whose other row %s', async (_, other, waits) => {
    for (let stop = 99; stop > 0; stop = stop === 99 ? 10 : stop - 1) {
      const kafka = history([]);
      const part = (number: number, last: boolean, entries: Entry[]): void =>
        addManifest(
          kafka,
          { kind: 'stream', epoch: 9, part: number, last, through: '0/60', lastCommit: '0/50' },
          entries,
        );
      part(1, false, [order('c', 20, 88, 'x', 0x50, 1)]);
      part(2, true, [other]);
      await transformHistory(kafka, { ...options('row'), writes: stop });
      await transformHistory(kafka, options('row'));
      const seen = textsOf(kafka, ORDERS).filter((text) => text === 'c 20');
      expect(seen).toHaveLength(waits === 0 ? 1 : 0);
      expect(waitingCodes(kafka).slice(2)).toEqual(waits === 0 ? [] : ['rule_failed', 'waits']);
    }
  });

  it('is judged again where a dead letter is retried', async () => {
    const kafka = history(STREAM);
    await transformHistory(kafka, options('row'));
    const outcomes: string[] = [];
    const command = {
      id: 'now',
      action: 'retry',
      ids: null,
      reason: 'there by now',
      set: {},
      isDryRun: false,
    } as const;
    await transformHistory(kafka, {
      ...options('row'),
      commands: [{ ...command, behind: 'free' }],
      onAnswer: (all) => outcomes.push(...all.map(({ state, error }) => `${state} ${error}`)),
    });
    // Customer 77 came; 9 did not, and two codes are still another row's.
    expect(outcomes.toSorted()).toEqual([
      expect.stringMatching(/^retried/),
      expect.stringMatching(/^waiting .*another row has the same code/),
      expect.stringMatching(/^waiting .*another row has the same code/),
      expect.stringMatching(/^waiting .*no such row/),
    ]);
    expect(textsOf(kafka, ORDERS).at(-1)).toBe('c 7');
  });
});

function options(onFailure: FailureAction): { readonly rules: []; readonly validations: readonly ValidationConfig[] } {
  const on = new Map([['id', 'cust']]);
  const other = { schema: 'public', table: 'customers' };
  return {
    rules: [],
    validations: [
      { name: 'refers', table: ORDERS_TABLE, check: { kind: 'reference', other, on }, onFailure },
      { name: 'codes', table: ORDERS_TABLE, check: { kind: 'unique', columns: ['code'] }, onFailure },
    ],
  };
}

function order(
  op: 'r' | 'c' | 'u' | 'd',
  id: number,
  cust: number | null,
  code: string | null,
  commit = 0,
  ordinal = 1,
): Entry {
  const values = [String(id), cust === null ? null : String(cust), code];
  return op === 'r' ? rowEntry(orders, id, values) : changeEntry(orders, op, values, { commit, ordinal });
}

function customer(op: 'r' | 'c', id: number, commit = 0, ordinal = 1): Entry {
  const values = [String(id), 'name'];
  return op === 'r' ? rowEntry(customers, id, values) : changeEntry(customers, op, values, { commit, ordinal });
}

/** Orders are loaded before the customers that they refer to. */
function history(epochs: readonly (readonly Entry[])[]): MemoryHistory {
  return loadedHistory(
    [
      [orders, LOAD],
      [customers, [customer('r', 1), customer('r', 2)]],
    ],
    epochs,
  );
}
