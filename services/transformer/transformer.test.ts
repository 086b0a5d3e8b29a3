import { describe, expect, it } from 'vitest';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { TableStructure } from '#core/structure.ts';
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
  type Entry,
  type MemoryHistory,
} from '../../test/harness/memory-history.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';

const columns = [makeColumn('id', 'int4'), makeColumn('type', 'text'), makeColumn('__proto__', 'text')];
const orders = makeTable(RAW, 'orders', columns);
const other = makeTable(RAW, 'other', columns);
const rename: RuleConfig = {
  table: { schema: 'public', table: 'orders' },
  rename: { schema: 'public', table: 'sales' },
  renameColumns: new Map([['__proto__', 'note']]),
  dropColumns: [],
  where: 'type != "hidden"',
};

describe('transform', () => {
  it('passes on the chunks first, then the stream, without what the snapshot has', async () => {
    const kafka = history();
    await run(kafka, 99);
    expect(kinds(kafka)).toEqual([
      'plan',
      'chunk',
      'chunk',
      'tableEnd',
      'tableEnd',
      'end',
      'stream',
      'stream',
      'empty',
    ]);
    expect(textsOf(kafka, `${SHAPED}.public.sales`)).toEqual(['r 1', 'c 3', 'u 3', 'd 3', 'd 3']);
    expect(textsOf(kafka, `${SHAPED}.public.other`)).toEqual(['r 1', 'c 3', 'c 9']);
    expect(kafka.out.map(({ manifest }) => manifest.raw?.offset)).toEqual([
      '2',
      '5',
      '6',
      '8',
      '9',
      '10',
      '3',
      '4',
      '7',
      '11',
    ]);
  });

  it.each(['0/A', '0/30'])(
    'never says that it is further than the stream that it wrote: first snapshot at %s',
    async (snapshot) => {
      const kafka = history(snapshot);
      await run(kafka, 99);
      const reached = kafka.out.map(({ manifest }) => manifest.through);
      expect(reached).toEqual(['0/A', '0/A', '0/A', '0/A', '0/A', '0/A', '0/20', '0/20', '0/30', '0/40']);
    },
  );

  it('renames in plan, chunk and truncate, and counts what it passes on by operation', async () => {
    const kafka = history();
    const { events } = await run(kafka, 99);
    expect(events).toEqual({ snapshot: 2, insert: 3, update: 1, delete: 1, truncate: 1 });
    const plan = kafka.out.find(({ manifest }) => manifest.kind === 'plan')?.manifest;
    expect(plan?.tables?.map(({ table: name, topic }) => [name, topic])).toEqual([
      ['sales', `${SHAPED}.public.sales`],
      ['other', `${SHAPED}.public.other`],
    ]);
    expect(kafka.out.filter(({ manifest }) => manifest.kind === 'chunk').map(({ manifest }) => manifest.rows)).toEqual([
      1, 1,
    ]);
    expect(kafka.out.flatMap(({ manifest }) => manifest.control)).toEqual([
      expect.objectContaining({ kind: 'truncate', topics: [`${SHAPED}.public.sales`] }),
      expect.objectContaining({ kind: 'barrier', id: 'b1' }),
    ]);
  });

  it('leaves the key and value of a table without rule untouched', async () => {
    const kafka = history();
    await run(kafka, 99);
    const raw = kafka.records.get(other.topic) ?? [];
    const shaped = kafka.records.get(`${SHAPED}.public.other`) ?? [];
    expect(shaped.map(({ value }) => String(value)).toSorted()).toEqual(
      raw.map(({ value }) => String(value)).toSorted(),
    );
    expect(shaped.map(({ key }) => String(key)).toSorted()).toEqual(raw.map(({ key }) => String(key)).toSorted());
  });

  it('writes epochs that wait behind each other in one transaction, each with its own manifest', async () => {
    const kafka = history();
    const count = 5;
    for (let index = 0; index < count; index += 1) {
      const commit = 0x50 + index;
      const lsn = `0/${commit.toString(16).toUpperCase()}`;
      const place = { kind: 'stream', epoch: 10 + index, firstCommit: lsn, lastCommit: lsn, through: lsn } as const;
      addManifest(kafka, place, [
        changeEntry(orders, 'c', [String(100 + index), 'x', null], { commit }),
        changeEntry(other, 'c', [String(200 + index), 'x', null], { commit, ordinal: 2 }),
      ]);
    }
    await run(kafka, 99);
    expect(kafka.transactions.at(-1)).toBe(count);
    const joined = kafka.out.slice(-count).map(({ manifest }) => manifest);
    expect(joined.map(({ epoch }) => epoch)).toEqual([10, 11, 12, 13, 14]);
    const ids = joined.map(({ ranges }) =>
      ranges.map(({ topic, first, last }) => {
        expect(first).toBe(last);
        const record = kafka.records.get(topic)?.[Number(first)];
        return (JSON.parse(String(record?.key)) as { id: number }).id;
      }),
    );
    expect(ids).toEqual([0, 1, 2, 3, 4].map((index) => [100 + index, 200 + index]));
  });

  it('gives the same output wherever it is stopped', async () => {
    const whole = history();
    await run(whole, 99);
    for (let stop = 1; stop < whole.out.length; stop += 1) {
      const kafka = history();
      await run(kafka, stop);
      await run(kafka, 99);
      expect(kafka.out.map(({ manifest }) => manifest)).toEqual(whole.out.map(({ manifest }) => manifest));
      expect(textsOf(kafka, `${SHAPED}.public.sales`)).toEqual(textsOf(whole, `${SHAPED}.public.sales`));
    }
  });

  it('goes on with other rules only where they are accepted and give the same tables', async () => {
    const kafka = history();
    await run(kafka, 7);
    const wider = { ...rename, where: 'type != "secret"' };
    const go = (rules: readonly RuleConfig[], acceptsRules: boolean): Promise<ServiceStatus> =>
      transformHistory(kafka, { rules, acceptsRules });
    await expect(go([wider], false)).rejects.toMatchObject({
      code: 'rules_changed',
      message: 'output main was made by others than the file says now: rules',
    });
    for (const renameColumns of [new Map(), new Map([['type', 'kind']])])
      await expect(go([{ ...rename, renameColumns }], true)).rejects.toMatchObject({ code: 'rules_changed' });
    await expect(go([], true)).rejects.toMatchObject({
      code: 'rules_changed',
      where: expect.stringContaining('public.sales') as string,
    });
    expect(kafka.out).toHaveLength(7);
    await go([wider], true);
    // They are its rules from then on.
    await go([wider], false);
    await expect(run(kafka, 99)).rejects.toMatchObject({ code: 'rules_changed' });
  });

  it('refuses raw topics of another life', async () => {
    const kafka = history();
    await run(kafka, 2);
    for (const { manifest } of kafka.raw) Object.assign(manifest, { incarnation: 'another' });
    await expect(run(kafka, 99)).rejects.toMatchObject({ code: 'state_foreign' });
  });
});

/** intent, origin, plan, chunks with the stream between, end, empty. Snapshot: 0/A, of `other`: 0/20; the plan may be of a later one. */
function history(planned = '0/A'): MemoryHistory {
  const kafka = newHistory();
  addManifest(kafka, { kind: 'intent', through: '0/5' });
  addManifest(kafka, { kind: 'origin', through: '0/A', snapshot: '0/A' });
  addManifest(
    kafka,
    {
      kind: 'plan',
      load: 1,
      through: '0/A',
      snapshot: planned,
      tables: [orders, other].map(({ schema, table: name, topic }) => ({
        schema,
        table: name,
        topic,
        chunks: 1,
        rows: 0,
      })),
    },
    [announceEntry(orders), announceEntry(other)],
  );
  addManifest(kafka, { kind: 'stream', through: '0/20', epoch: 1, lastCommit: '0/1F' }, [
    announceEntry(orders),
    announceEntry(other),
    change(orders, 'c', 3, 0x1f),
    change(other, 'c', 3, 0x20),
  ]);
  addManifest(kafka, { kind: 'empty', through: '0/20', epoch: 1 });
  addManifest(kafka, { kind: 'chunk', load: 1, through: '0/20', chunk: 0, rows: 2, table: nameOf(orders) }, [
    row(orders, 1, 'x'),
    row(orders, 2, 'hidden'),
  ]);
  addManifest(kafka, { kind: 'chunk', load: 1, through: '0/20', chunk: 0, rows: 1, table: nameOf(other) }, [
    row(other, 1, 'x'),
  ]);
  addManifest(
    kafka,
    {
      kind: 'stream',
      through: '0/30',
      epoch: 2,
      control: [
        {
          kind: 'truncate',
          commit: '0/2A',
          ordinal: 5,
          topics: [orders.topic],
          cascade: false,
          restartIdentity: false,
        },
        { kind: 'barrier', commit: '0/2B', ordinal: 1, id: 'b1' },
      ],
    },
    [change(orders, 'u', 3, 0x2a, 'x', 'x'), change(orders, 'u', 3, 0x2a, 'hidden', 'x'), change(other, 'c', 9, 0x2a)],
  );
  addManifest(kafka, { kind: 'tableEnd', load: 1, through: '0/30', snapshot: '0/A', table: nameOf(orders) });
  addManifest(kafka, { kind: 'tableEnd', load: 1, through: '0/30', snapshot: '0/20', table: nameOf(other) });
  addManifest(kafka, { kind: 'end', load: 1, through: '0/30', loaded: true });
  addManifest(kafka, { kind: 'empty', through: '0/40', epoch: 2 });
  return kafka;
}

function run(kafka: MemoryHistory, writes: number): Promise<ServiceStatus> {
  return transformHistory(kafka, { rules: [rename], writes });
}

function change(
  structure: TableStructure,
  op: 'c' | 'u',
  id: number,
  commit: number,
  type = 'x',
  before: string | null = null,
): Entry {
  const old = before === null ? null : [String(id), before, 'n'];
  return changeEntry(structure, op, [String(id), type, 'n'], { commit }, old);
}

function row(structure: TableStructure, id: number, type: string): Entry {
  return rowEntry(structure, id, [String(id), type, 'n']);
}

function kinds(kafka: MemoryHistory): string[] {
  return kafka.out
    .map(({ manifest }) => manifest.kind)
    .filter((kind, index, all) => kind !== 'empty' || index === all.length - 1);
}

function nameOf({ schema, table: name, topic }: TableStructure): { schema: string; table: string; topic: string } {
  return { schema, table: name, topic };
}
