import { describe, expect, it } from 'vitest';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import {
  addManifest,
  announceEntry,
  changeEntry,
  newHistory,
  RAW,
  rowEntry,
  SHAPED,
  textsOf,
  transformHistory,
  waitingLetters,
  type Entry,
  type MemoryHistory,
} from '../../test/harness/memory-history.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';

const sales = makeTable(RAW, 'sales', [makeColumn('id', 'int4'), makeColumn('amount', 'text')]);
const people = makeTable(RAW, 'people', [makeColumn('id', 'int4'), makeColumn('name', 'text')]);
const rules: readonly RuleConfig[] = [
  {
    table: { schema: 'public', table: 'sales' },
    rename: null,
    renameColumns: new Map(),
    dropColumns: [],
    where: null,
    castColumns: new Map([['amount', 'int4']]),
  },
];
const SALES = `${SHAPED}.public.sales`;
const PEOPLE = `${SHAPED}.public.people`;
/** A transaction with a bad row, one that is none of its business, one behind its key, a good one. */
const STREAM = [
  [sale('c', 1, 'one', 0x20, 1), person('c', 1, 0x20, 2), sale('c', 2, '2', 0x20, 3)],
  [person('c', 9, 0x21, 1)],
  [sale('u', 1, '10', 0x22, 1), person('c', 2, 0x22, 2)],
  [person('u', 2, 0x23, 1), sale('c', 3, '3', 0x23, 2)],
  [sale('c', 4, '4', 0x24, 1)],
];

describe('a row that a cast does not take', () => {
  it('stops the transformer by default', async () => {
    await expect(transformHistory(withStream(), { rules })).rejects.toMatchObject({ code: 'rule_failed' });
  });

  it('waits with its transaction, and so does what touches the keys of both', async () => {
    const kafka = withStream();
    const status = await transformHistory(kafka, { rules, policy: 'transaction' });
    expect(textsOf(kafka, SALES)).toEqual(['r 7', 'c 4']);
    expect(textsOf(kafka, PEOPLE)).toEqual(['c 9']);
    expect(lettersOf(kafka)).toEqual([
      ['insert', { id: '1' }, 'rule_failed', null],
      ['insert', { id: '1' }, 'waits', 0],
      ['insert', { id: '2' }, 'waits', 0],
      ['update', { id: '1' }, 'waits', 0],
      ['insert', { id: '2' }, 'waits', 0],
      ['update', { id: '2' }, 'waits', 4],
      ['insert', { id: '3' }, 'waits', 4],
    ]);
    expect(status).toMatchObject({ deadLetters: 7 });
    expect(kafka.records.get('shop.dlq')).toHaveLength(7);
  });

  it('waits alone with policy row, and later changes of its row do', async () => {
    const kafka = withStream();
    await transformHistory(kafka, { rules, policy: 'row' });
    expect(textsOf(kafka, SALES)).toEqual(['r 7', 'c 2', 'c 3', 'c 4']);
    expect(textsOf(kafka, PEOPLE)).toEqual(['c 1', 'c 9', 'c 2', 'u 2']);
    expect(lettersOf(kafka)).toEqual([
      ['insert', { id: '1' }, 'rule_failed', null],
      ['update', { id: '1' }, 'waits', 0],
    ]);
    const [letter] = kafka.records.get('shop.dlq') ?? [];
    expect(String(letter?.headers.get('dlq.stage'))).toBe('shape');
    expect(String(letter?.headers.get('dlq.error'))).toMatch(/columns.cast.amount/);
    expect(letter?.value).toEqual(
      kafka.records.get(sales.topic)?.find(({ value }) => String(value).includes('one'))?.value,
    );
  });

  it('is passed by a later change of its row, all of it, where that is asked for', async () => {
    const make = (): MemoryHistory => {
      const kafka = loaded([rowEntry(sales, 7, ['7', 'seven'])]);
      const epochs = [
        [sale('c', 1, 'one', 0x20, 1), sale('c', 2, '2', 0x20, 2), sale('c', 3, 'three', 0x20, 3)],
        [sale('u', 1, '10', 0x22, 1), sale('u', 2, 'two', 0x22, 2), deletion(3, 0x22, 3)],
        [sale('u', 7, 'still', 0x23, 1), sale('u', 2, '22', 0x23, 2), sale('u', 1, '11', 0x23, 3)],
        [deletion(2, 0x24, 1), sale('u', 7, '77', 0x24, 2)],
      ];
      for (const [index, entries] of epochs.entries())
        addManifest(kafka, { kind: 'stream', through: `0/${(0x30 + index).toString(16)}`, epoch: index + 1 }, entries);
      return kafka;
    };
    const whole = make();
    const options = { rules, policy: 'row', laterChanges: 'pass' } as const;
    await transformHistory(whole, options);
    expect(textsOf(whole, SALES)).toEqual(['c 2', 'c 1', 'u 2', 'u 1', 'd 2', 'd 2', 'c 7']);
    expect(waitingLetters(whole).size).toBe(0);
    for (let stop = 1; stop < whole.out.length; stop += 1) {
      const kafka = make();
      await transformHistory(kafka, { ...options, writes: stop });
      await transformHistory(kafka, options);
      expect(textsOf(kafka, SALES)).toEqual(textsOf(whole, SALES));
    }
  });

  it('gives the same letters and events wherever the transformer is stopped, and once each', async () => {
    for (const policy of ['transaction', 'row'] as const) {
      const whole = withStream(true);
      await transformHistory(whole, { rules, policy });
      for (let stop = 1; stop < whole.out.length; stop += 1) {
        const kafka = withStream(true);
        await transformHistory(kafka, { rules, policy, writes: stop });
        await transformHistory(kafka, { rules, policy });
        for (const topic of [SALES, PEOPLE]) expect(textsOf(kafka, topic)).toEqual(textsOf(whole, topic));
        expect(lettersOf(kafka)).toEqual(lettersOf(whole));
        expect(kafka.records.get('shop.dlq')).toHaveLength(whole.records.get('shop.dlq')?.length ?? -1);
      }
    }
  });

  it('waits as a row of the load, alone, and so do its changes', async () => {
    const kafka = loaded([rowEntry(sales, 1, ['1', 'one']), rowEntry(sales, 2, ['2', '2'])]);
    addManifest(kafka, { kind: 'stream', through: '0/40', epoch: 1 }, [
      sale('u', 1, '1', 0x30, 1),
      sale('u', 2, '3', 0x31, 1),
    ]);
    await transformHistory(kafka, { rules, policy: 'transaction' });
    expect(textsOf(kafka, SALES)).toEqual(['r 2', 'u 2']);
    expect(lettersOf(kafka)).toEqual([
      ['insert', { id: '1' }, 'rule_failed', null],
      ['update', { id: '1' }, 'waits', 0],
    ]);
    expect(kafka.out.find(({ manifest }) => manifest.kind === 'chunk')?.manifest.rows).toBe(1);
  });
});

describe('a transaction in several parts', () => {
  it('waits whole where its last part fails, wherever the transformer is stopped', async () => {
    const parts = (): MemoryHistory => {
      const kafka = loaded([]);
      const part = (number: number, last: boolean, entries: Entry[]): void =>
        addManifest(kafka, { kind: 'stream', epoch: 1, part: number, last, through: last ? '0/40' : '0/20' }, entries);
      part(1, false, [sale('c', 1, '1', 0x30, 1)]);
      part(2, false, [person('c', 1, 0x30, 2)]);
      part(3, true, [sale('c', 2, 'two', 0x30, 3), sale('c', 3, '3', 0x31, 1)]);
      return kafka;
    };
    const whole = parts();
    await transformHistory(whole, { rules, policy: 'transaction' });
    expect(textsOf(whole, SALES)).toEqual(['c 3']);
    expect(textsOf(whole, PEOPLE)).toEqual([]);
    expect(lettersOf(whole)).toEqual([
      ['insert', { id: '1' }, 'waits', 2],
      ['insert', { id: '1' }, 'waits', 2],
      ['insert', { id: '2' }, 'rule_failed', null],
    ]);
    for (let stop = 1; stop < whole.out.length; stop += 1) {
      const kafka = parts();
      await transformHistory(kafka, { rules, policy: 'transaction', writes: stop });
      await transformHistory(kafka, { rules, policy: 'transaction' });
      expect(textsOf(kafka, SALES)).toEqual(['c 3']);
      expect(lettersOf(kafka)).toEqual(lettersOf(whole));
    }
  });
});

describe('what waits of a table', () => {
  it('ends where the table is truncated, and what comes after it passes', async () => {
    const kafka = loaded([]);
    addManifest(kafka, { kind: 'stream', epoch: 1, through: '0/40', control: [truncate(0x31)] }, [
      sale('c', 1, 'one', 0x30, 1),
      sale('c', 1, '1', 0x32, 1),
    ]);
    await transformHistory(kafka, { rules, policy: 'transaction' });
    expect(lettersOf(kafka)).toEqual([]);
    expect(textsOf(kafka, SALES)).toEqual(['c 1']);
    expect(
      kafka.records.get('shop.dlq.audit')?.map(({ value }) => (JSON.parse(String(value)) as { reason: string }).reason),
    ).toEqual(['its table was truncated']);
  });

  it('stops the transformer where a transaction that must wait truncates', async () => {
    const kafka = loaded([]);
    addManifest(kafka, { kind: 'stream', epoch: 1, through: '0/40', control: [truncate(0x30, 5)] }, [
      sale('c', 1, 'one', 0x30, 1),
    ]);
    await expect(transformHistory(kafka, { rules, policy: 'transaction' })).rejects.toMatchObject({
      code: 'dead_letters_wait',
    });
  });

  it('ends where the table is loaded again', async () => {
    const kafka = withStream();
    const plan = { load: 2, through: '0/40', tables: [planned(sales)] };
    addManifest(kafka, { kind: 'announce', ...plan });
    addManifest(kafka, { kind: 'plan', ...plan });
    addManifest(kafka, { kind: 'chunk', load: 2, through: '0/40', chunk: 0, rows: 1, table: nameOf(sales) }, [
      rowEntry(sales, 1, ['1', '1']),
    ]);
    addManifest(kafka, { kind: 'tableEnd', load: 2, through: '0/40', snapshot: '0/40', table: nameOf(sales) });
    addManifest(kafka, { kind: 'end', load: 2, through: '0/40', loaded: true });
    await transformHistory(kafka, { rules, policy: 'row' });
    expect(lettersOf(kafka)).toEqual([]);
  });
});

function sale(op: 'c' | 'u', id: number, amount: string, commit: number, ordinal: number): Entry {
  return changeEntry(sales, op, [String(id), amount], { commit, ordinal });
}

function deletion(id: number, commit: number, ordinal: number): Entry {
  return changeEntry(sales, 'd', [String(id), '22'], { commit, ordinal });
}

function person(op: 'c' | 'u', id: number, commit: number, ordinal: number): Entry {
  return changeEntry(people, op, [String(id), 'n'], { commit, ordinal });
}

function truncate(commit: number, ordinal = 1): MemoryHistory['raw'][number]['manifest']['control'][number] {
  const at = `0/${commit.toString(16).toUpperCase()}`;
  return { kind: 'truncate', commit: at, ordinal, topics: [sales.topic], cascade: false, restartIdentity: false };
}

/** A load of both tables, of which sales has these rows. */
function loaded(rows: readonly Entry[]): MemoryHistory {
  const kafka = newHistory();
  addManifest(kafka, { kind: 'intent', through: '0/5' });
  addManifest(kafka, { kind: 'origin', through: '0/A', snapshot: '0/A' });
  const tables = [planned(sales), planned(people)];
  addManifest(kafka, { kind: 'plan', load: 1, through: '0/A', snapshot: '0/A', tables }, [
    announceEntry(sales),
    announceEntry(people),
  ]);
  const place = { load: 1, through: '0/A' };
  addManifest(kafka, { kind: 'chunk', ...place, chunk: 0, rows: rows.length, table: nameOf(sales) }, rows);
  for (const table of [sales, people])
    addManifest(kafka, { kind: 'tableEnd', ...place, snapshot: '0/A', table: nameOf(table) });
  addManifest(kafka, { kind: 'end', ...place, loaded: true });
  return kafka;
}

/** A load of one row, then the stream: in one epoch, or one for each transaction. */
function withStream(isCut = false): MemoryHistory {
  const kafka = loaded([rowEntry(sales, 1, ['7', '7'])]);
  const epochs = isCut ? STREAM : [STREAM.flat()];
  for (const [index, entries] of epochs.entries())
    addManifest(kafka, { kind: 'stream', through: `0/3${index}`, epoch: index + 1 }, entries);
  return kafka;
}

/** Kind, key, code and the index of the one that each waits behind, oldest first. */
function lettersOf(kafka: MemoryHistory): unknown[] {
  const letters = waitingLetters(kafka).all();
  return letters.map(({ kind, rowKey, code, behind }) => [
    kind,
    rowKey,
    code,
    behind === null ? null : letters.findIndex(({ id }) => id === behind),
  ]);
}

function planned(structure: typeof sales): {
  schema: string;
  table: string;
  topic: string;
  chunks: number;
  rows: number;
} {
  return { ...nameOf(structure), chunks: structure === sales ? 1 : 0, rows: 0 };
}

function nameOf({ schema, table, topic }: typeof sales): { schema: string; table: string; topic: string } {
  return { schema, table, topic };
}
