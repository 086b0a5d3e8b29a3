import { describe, expect, it } from 'vitest';
import type { Row } from '#core/envelope.ts';
import { formatLsn, LSN_ZERO, lsnOf, parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import { comparePositions, type Position } from '#core/position.ts';
import { readStreamHeaders } from '#core/record.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { TableStructure } from '#core/structure.ts';
import {
  addManifest,
  announceEntry,
  changeEntry,
  newHistory,
  RAW,
  rowEntry,
  SHAPED,
  STATE,
  transformHistory,
  type Entry,
  type MemoryHistory,
} from '../../test/harness/memory-history.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';

const customers = makeTable(RAW, 'customers', [makeColumn('id', 'int4'), makeColumn('name', 'text')]);
const orders = makeTable(RAW, 'orders', [
  makeColumn('id', 'int4'),
  makeColumn('cust', 'int4'),
  makeColumn('n', 'int4'),
]);
const base = { rename: null, renameColumns: new Map(), dropColumns: [] };
const LOOK_UP = [{ as: 'c', table: { schema: 'public', table: 'customers' }, on: new Map([['id', 'cust']]) }];
const RULES: readonly RuleConfig[] = [
  {
    ...base,
    table: { schema: 'public', table: 'orders' },
    where: null,
    lookUps: LOOK_UP,
    setColumns: [{ column: 'name', type: 'text', value: 'c.name' }],
  },
  {
    ...base,
    table: { schema: 'public', table: 'orders' },
    rename: { schema: 'public', table: 'known' },
    where: 'c != null && 10 / n > 0',
    lookUps: LOOK_UP,
  },
];

describe('an output whose rules look up rows', () => {
  it('has the looked up rows first, follows both tables, and leaves nothing out that the load has otherwise', async () => {
    const kafka = history();
    await transformHistory(kafka, { rules: RULES });
    expect(targetOf(kafka, 'orders')).toEqual({
      1: { id: 1, cust: 3, n: 1, name: 'reloaded' },
      2: { id: 2, cust: 9, n: 1, name: 'moved' },
      4: { id: 4, cust: 2, n: 1, name: null },
      5: { id: 5, cust: 3, n: 2, name: 'reloaded' },
    });
    expect(Object.keys(targetOf(kafka, 'known'))).toEqual(['1', '2', '5']);
  });

  it('gives the same wherever it is stopped, from the state that Kafka has', async () => {
    const whole = history();
    await transformHistory(whole, { rules: RULES });
    for (let stop = 1; stop < whole.out.length; stop += 1) {
      const kafka = history();
      await transformHistory(kafka, { rules: RULES, writes: stop });
      await transformHistory(kafka, { rules: RULES });
      expect(kafka.out.map(({ manifest }) => manifest)).toEqual(whole.out.map(({ manifest }) => manifest));
      for (const table of ['orders', 'known', 'customers'])
        expect(targetOf(kafka, table)).toEqual(targetOf(whole, table));
      expect(stateOf(kafka)).toEqual(stateOf(whole));
    }
  });

  it.each(['transaction', 'row'] satisfies QuarantinePolicy[])(
    'remembers nothing of what is left out, with quarantine: %s',
    async (policy) => {
      const kafka = history((before) => {
        add(before, 'stream', '0/2B', {}, [
          change(orders, 'u', [1, 1, 0], 0x2a, [1, 1, 1]),
          change(customers, 'u', [7, 'x'], 0x2a, [7, 'y']),
        ]);
      });
      await transformHistory(kafka, { rules: RULES, policy });
      expect(targetOf(kafka, 'orders')[1]).toMatchObject({ cust: 1, n: 1 });
      expect(JSON.parse(stateOf(kafka)[`${STATE}.public.orders`]?.['{"id":1}'] ?? '')).toMatchObject({ cust: 1, n: 1 });
    },
  );

  it('does not begin in the midst of a history, nor go on without its state', async () => {
    const kafka = history();
    await transformHistory(kafka, { rules: [], writes: 4 });
    await expect(transformHistory(kafka, { rules: RULES, acceptsRules: true })).rejects.toMatchObject({
      code: 'rules_changed',
      fix: expect.stringContaining("raise the output's version") as string,
    });
  });
});

/** Orders come before customers in the load and under a later snapshot; customers are loaded again alone. */
function history(more: (kafka: MemoryHistory) => void = () => undefined): MemoryHistory {
  const kafka = newHistory();
  add(kafka, 'intent', '0/5');
  add(kafka, 'origin', '0/A', { snapshot: '0/A' });
  add(kafka, 'plan', '0/A', { load: 1, snapshot: '0/A', tables: [customers, orders].map(planned) }, [
    announceEntry(orders),
    announceEntry(customers),
  ]);
  add(kafka, 'stream', '0/20', { epoch: 1 }, [
    change(customers, 'u', [2, 'between'], 0x1f, [2, 'b']),
    change(orders, 'c', [3, 2, 1], 0x1e),
  ]);
  add(kafka, 'chunk', '0/20', { load: 1, chunk: 0, rows: 3, table: nameOf(orders) }, [
    row(orders, [1, 1, 1]),
    row(orders, [2, 2, 1]),
    row(orders, [3, 2, 1]),
  ]);
  add(kafka, 'chunk', '0/20', { load: 1, chunk: 0, rows: 3, table: nameOf(customers) }, [
    row(customers, [1, 'a']),
    row(customers, [2, 'b']),
    row(customers, [7, 'y']),
  ]);
  add(kafka, 'tableEnd', '0/20', { load: 1, snapshot: '0/20', table: nameOf(orders) });
  add(kafka, 'tableEnd', '0/20', { load: 1, snapshot: '0/A', table: nameOf(customers) });
  add(kafka, 'end', '0/20', { load: 1, loaded: true });
  more(kafka);
  add(kafka, 'stream', '0/30', { epoch: 2 }, [
    change(orders, 'c', [4, 2, 1], 0x2c, null, 1),
    change(customers, 'u', [9, 'moved'], 0x2c, [2, 'between'], 2),
    change(orders, 'u', [2, 9, 1], 0x2c, [2, 2, 1], 3),
    change(orders, 'd', [3, 2, 1], 0x2d),
  ]);
  const truncate = { commit: '0/32', ordinal: 2, topics: [customers.topic], cascade: false, restartIdentity: false };
  add(kafka, 'stream', '0/35', { epoch: 3, control: [{ kind: 'truncate', ...truncate }] }, [
    change(customers, 'c', [3, 'gone'], 0x32, null, 1),
    change(orders, 'c', [5, 3, 2], 0x32, null, 3),
    change(customers, 'c', [3, 'new'], 0x33),
    change(customers, 'c', [9, 'moved'], 0x33),
    change(orders, 'u', [1, 3, 1], 0x34, [1, 1, 1]),
  ]);
  add(kafka, 'announce', '0/35', { load: 2, epoch: 3, tables: [planned(customers)] });
  add(kafka, 'stream', '0/38', { epoch: 4 }, [change(customers, 'u', [3, 'reloaded'], 0x36, [3, 'new'])]);
  add(kafka, 'plan', '0/38', { load: 2, epoch: 4, tables: [planned(customers)] });
  add(kafka, 'chunk', '0/38', { load: 2, epoch: 4, chunk: 0, rows: 2, table: nameOf(customers) }, [
    row(customers, [3, 'reloaded']),
    row(customers, [9, 'moved']),
  ]);
  add(kafka, 'tableEnd', '0/38', { load: 2, epoch: 4, snapshot: '0/37', table: nameOf(customers) });
  add(kafka, 'end', '0/38', { load: 2, epoch: 4, loaded: true });
  add(kafka, 'empty', '0/40', { epoch: 4 });
  return kafka;
}

function add(
  kafka: MemoryHistory,
  kind: Manifest['kind'],
  through: string,
  extra: Partial<Manifest> = {},
  entries: readonly Entry[] = [],
): void {
  const commits = entries.flatMap(({ headers }) => (headers.length > 20 ? [through] : []));
  addManifest(kafka, { kind, through, lastCommit: commits[0] ?? null, commitTime: '1', ...extra }, entries);
}

/** What a sink makes of a shaped topic: rows of the newest load, then the stream without what that has. */
function targetOf(kafka: MemoryHistory, table: string): Record<string, Row> {
  const topic = `${SHAPED}.public.${table}`;
  const records = kafka.records.get(topic) ?? [];
  const rows = new Map<string, Row>();
  let floor: Lsn = LSN_ZERO;
  const take = (from: string, to: string, truncated: Position[]): void => {
    for (const { key, value, headers, offset } of records.slice(Number(from), Number(to) + 1)) {
      if (value === null) continue;
      const { op, before, after } = JSON.parse(value.toString()) as {
        op: string;
        before: Row | null;
        after: Row | null;
      };
      const position = readStreamHeaders({ key, value, headers, offset })?.position;
      if (position !== undefined && position.commit < floor) continue;
      const [cut] = truncated;
      if (position !== undefined && cut !== undefined && comparePositions(cut, position) < 0) {
        truncated.shift();
        rows.clear();
      }
      const id = (one: Row | null): string => String(one?.['id']);
      const old = rows.get(id(before ?? after));
      expect(
        old !== undefined,
        `${table}: ${op} ${String(key)} at ${position === undefined ? 'load' : formatLsn(position.commit)}`,
      ).toBe(op === 'u' || op === 'd');
      rows.delete(id(before ?? after));
      if (after !== null) rows.set(id(after), { ...old, ...after });
    }
  };
  for (const { manifest } of kafka.out) {
    const isPlanned = manifest.tables?.some((one) => one.topic === topic) === true;
    if (manifest.kind === 'plan' && isPlanned) rows.clear();
    const isEnded = (manifest.ended ?? [manifest.table]).some((one) => one?.topic === topic);
    if (manifest.kind === 'tableEnd' && isEnded) floor = parseLsn(manifest.snapshot ?? '0/0');
    const truncated = manifest.control.flatMap((entry) =>
      entry.kind === 'truncate' && entry.topics.includes(topic)
        ? [{ commit: parseLsn(entry.commit), ordinal: entry.ordinal }]
        : [],
    );
    for (const one of manifest.ranges) if (one.topic === topic) take(one.first, one.last, truncated);
    if (truncated.length > 0) rows.clear();
  }
  return Object.fromEntries([...rows].toSorted(([a], [b]) => Number(a) - Number(b)));
}

/** Rows by key, of the generation that counts. */
function stateOf(kafka: MemoryHistory): Record<string, Record<string, string>> {
  const tables: Record<string, Record<string, string>> = {};
  for (const [topic, records] of kafka.records) {
    if (!topic.startsWith(`${STATE}.public.`)) continue;
    const newest = new Map(records.map(({ key, value }) => [String(key), value === null ? null : String(value)]));
    const { generation } = JSON.parse(newest.get('head') ?? '{}') as { generation: number };
    tables[topic] = Object.fromEntries(
      [...newest].flatMap(([key, text]) =>
        key.startsWith(`${generation} `) && text !== null ? [[key.slice(String(generation).length + 1), text]] : [],
      ),
    );
  }
  return tables;
}

type Values = readonly (string | number | null)[];

function textsOf(values: Values): (string | null)[] {
  return values.map((value) => (value === null ? null : String(value)));
}

function change(
  structure: TableStructure,
  op: 'c' | 'u' | 'd',
  values: Values,
  commit: number,
  before: Values | null = null,
  ordinal = 1,
): Entry {
  return changeEntry(
    structure,
    op,
    textsOf(values),
    { commit: Number(lsnOf(BigInt(commit))), ordinal },
    before === null ? null : textsOf(before),
  );
}

function row(structure: TableStructure, values: Values): Entry {
  return rowEntry(structure, Number(values[0]), textsOf(values));
}

function nameOf({ schema, table, topic }: TableStructure): { schema: string; table: string; topic: string } {
  return { schema, table, topic };
}

function planned(structure: TableStructure): NonNullable<Manifest['tables']>[number] {
  return { ...nameOf(structure), chunks: 1, rows: 0 };
}
