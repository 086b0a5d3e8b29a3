import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { EpochWriter, ManifestDraft, PartitionRecords } from '#core/epoch-writer.ts';
import { EventEncoder } from '#core/event-encoder.ts';
import { lsnOf } from '#core/lsn.ts';
import type { Manifest, ManifestRange, StoredManifest } from '#core/manifest.ts';
import { chunkHeaders, streamHeaders, type KafkaRecord } from '#core/record.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import { structureRecord } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { readHeaders, STAMP, unseal } from '../../test/harness/batch-records.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';
import { EventShaper } from './event-shaper.ts';
import { transform } from './transformer.ts';

const RAW = 'shop';
const SHAPED = 'shop.shaped.main.v1';
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
    expect(texts(kafka, `${SHAPED}.public.sales`)).toEqual(['r 1', 'c 3', 'u 3', 'd 3', 'd 3']);
    expect(texts(kafka, `${SHAPED}.public.other`)).toEqual(['r 1', 'c 3', 'c 9']);
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

  it('gives the same output wherever it is stopped', async () => {
    const whole = history();
    await run(whole, 99);
    for (let stop = 1; stop < whole.out.length; stop += 1) {
      const kafka = history();
      await run(kafka, stop);
      await run(kafka, 99);
      expect(kafka.out.map(({ manifest }) => manifest)).toEqual(whole.out.map(({ manifest }) => manifest));
      expect(texts(kafka, `${SHAPED}.public.sales`)).toEqual(texts(whole, `${SHAPED}.public.sales`));
    }
  });

  it('refuses raw topics of another life', async () => {
    const kafka = history();
    await run(kafka, 2);
    for (const { manifest } of kafka.raw) Object.assign(manifest, { incarnation: 'another' });
    await expect(run(kafka, 99)).rejects.toMatchObject({ code: 'state_foreign' });
  });
});

interface Kafka {
  readonly raw: StoredManifest[];
  readonly out: StoredManifest[];
  readonly records: Map<string, KafkaRecord[]>;
}

/** intent, origin, plan, chunks with the stream between, end, empty. Snapshot: 0/A, of `other`: 0/20; the plan may be of a later one. */
function history(planned = '0/A'): Kafka {
  const kafka: Kafka = { raw: [], out: [], records: new Map() };
  add(kafka, { kind: 'intent', through: '0/5' });
  add(kafka, { kind: 'origin', through: '0/A', snapshot: '0/A' });
  add(
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
    [announce(orders), announce(other)],
  );
  add(kafka, { kind: 'stream', through: '0/20', epoch: 1, lastCommit: '0/1F' }, [
    announce(orders),
    announce(other),
    change(orders, 'c', 3, 0x1f),
    change(other, 'c', 3, 0x20),
  ]);
  add(kafka, { kind: 'empty', through: '0/20', epoch: 1 });
  add(kafka, { kind: 'chunk', load: 1, through: '0/20', chunk: 0, rows: 2, table: nameOf(orders) }, [
    row(orders, 1, 'x'),
    row(orders, 2, 'hidden'),
  ]);
  add(kafka, { kind: 'chunk', load: 1, through: '0/20', chunk: 0, rows: 1, table: nameOf(other) }, [
    row(other, 1, 'x'),
  ]);
  add(
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
  add(kafka, { kind: 'tableEnd', load: 1, through: '0/30', snapshot: '0/A', table: nameOf(orders) });
  add(kafka, { kind: 'tableEnd', load: 1, through: '0/30', snapshot: '0/20', table: nameOf(other) });
  add(kafka, { kind: 'end', load: 1, through: '0/30', loaded: true });
  add(kafka, { kind: 'empty', through: '0/40', epoch: 2 });
  return kafka;
}

interface Entry {
  readonly topic: string;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Buffer;
}

function add(kafka: Kafka, extra: Partial<Manifest>, entries: readonly Entry[] = []): void {
  const ranges: ManifestRange[] = [];
  for (const entry of entries)
    append(kafka, ranges, entry.topic, {
      key: buffer(entry.key),
      value: buffer(entry.value),
      headers: readHeaders(entry.headers),
    });
  const manifest: Manifest = {
    format: 1,
    incarnation: 'life',
    kind: 'empty',
    epoch: 0,
    part: 1,
    last: true,
    firstCommit: null,
    lastCommit: null,
    lastOrdinal: 0,
    through: '0/0',
    commitTime: null,
    systemId: '1',
    timeline: 1,
    load: 0,
    control: [],
    plan: kafka.raw.length > 2 ? '2' : null,
    ...extra,
    ranges,
  };
  kafka.raw.push({ offset: BigInt(kafka.raw.length), manifest });
}

function append(kafka: Kafka, ranges: ManifestRange[], topic: string, record: Omit<KafkaRecord, 'offset'>): void {
  const list = kafka.records.get(topic) ?? [];
  kafka.records.set(topic, list);
  const at = ranges.findIndex((range) => range.topic === topic);
  const offset = String(list.length);
  list.push({ ...record, offset: BigInt(offset) });
  const known = ranges[at];
  if (known === undefined) ranges.push({ topic, partition: 0, first: offset, last: offset, count: 1 });
  else ranges[at] = { ...known, last: offset, count: known.count + 1 };
}

/** One life: ends once it has written so many manifests, or all that there are. */
async function run(kafka: Kafka, writes: number): Promise<ServiceStatus> {
  const status = newStatus('transformer', 'main');
  const stop = new AbortController();
  const reader: EpochReader = {
    async *manifests(from, signal) {
      for (const stored of kafka.raw) if (stored.offset >= from && !signal.aborted) yield [stored];
      stop.abort();
    },
    async *read(range) {
      yield (kafka.records.get(range.topic) ?? []).slice(Number(range.first), Number(range.last) + 1);
    },
    last: () => Promise.resolve(kafka.raw.at(-1) ?? null),
    end: () => Promise.resolve(BigInt(kafka.raw.length)),
    close: () => Promise.resolve(),
  };
  let left = writes;
  const writer: EpochWriter = {
    open: () => Promise.resolve(),
    last: () => Promise.resolve(kafka.out.at(-1) ?? null),
    write: (draft: ManifestDraft, data: readonly PartitionRecords[]) => {
      const ranges: ManifestRange[] = [];
      for (const { topic, batches } of data)
        for (const batch of batches)
          for (const record of unseal(batch.seal(STAMP))) append(kafka, ranges, topic, record);
      const stored = { offset: BigInt(kafka.out.length), manifest: { ...draft, format: 1, ranges } };
      kafka.out.push(stored);
      left -= 1;
      if (left === 0) stop.abort();
      return Promise.resolve(stored);
    },
    close: () => Promise.resolve(),
  };
  const options = {
    reader,
    rules: [rename],
    rawSchemasTopic: `${RAW}.schemas`,
    shapedPrefix: SHAPED,
    shapedSchemasTopic: `${SHAPED}.schemas`,
    written: new Set((kafka.records.get(`${SHAPED}.schemas`) ?? []).map(({ value }) => idOf(value))),
  };
  await transform(
    {
      output: { name: 'main', version: 1, rules: [rename] },
      shapedPrefix: SHAPED,
      rawSchemasTopic: `${RAW}.schemas`,
      reader,
      writer,
      makeShaper: () =>
        Promise.resolve(
          new EventShaper(
            options,
            (kafka.records.get(`${RAW}.schemas`) ?? []).flatMap(({ value }) => (value === null ? [] : [value])),
          ),
        ),
      ensureTopics: () => Promise.resolve(),
      ensureSideTopics: () => Promise.resolve(),
      status,
      gate: { isPaused: false, whenRunning: () => Promise.resolve() },
      logger: pino({ level: 'silent' }),
      clock: () => 0,
    },
    stop.signal,
  );
  return status;
}

function encoder(structure: TableStructure): EventEncoder {
  return new EventEncoder(structure, structure.columns, RAW, 'db', '0.1.0');
}

function change(
  structure: TableStructure,
  op: 'c' | 'u',
  id: number,
  commit: number,
  type = 'x',
  before: string | null = null,
): Entry {
  const encode = encoder(structure);
  const values = [String(id), type, 'n'];
  const value = encode.change(
    op,
    before === null ? 'null' : encode.row([String(id), before, 'n']),
    encode.row(values),
    { commit: lsnOf(BigInt(commit)), xid: 1, commitTime: 1_700_000_000_123_456_789n },
    { lsn: lsnOf(1n), ordinal: 1, tableOrdinal: 1, processedMs: 5 },
  );
  const headers = streamHeaders({
    position: { commit: lsnOf(BigInt(commit)), ordinal: 1 },
    xid: 1n,
    epoch: 1,
    structure: structureRecord(structure).version,
  });
  return { topic: structure.topic, key: encode.key(values), value, headers: Buffer.from(headers) };
}

function row(structure: TableStructure, id: number, type: string): Entry {
  const encode = encoder(structure);
  const values = [String(id), type, 'n'];
  const headers = Buffer.from(chunkHeaders(0, id, 0, structureRecord(structure).version));
  return {
    topic: structure.topic,
    key: encode.key(values),
    value: encode.snapshotRow(encode.row(values), lsnOf(10n), 5),
    headers,
  };
}

function announce(structure: TableStructure): Entry {
  const { key, value } = structureRecord(structure);
  return { topic: `${RAW}.schemas`, key, value, headers: Buffer.from([0]) };
}

function texts(kafka: Kafka, topic: string): string[] {
  let last = '';
  return (kafka.records.get(topic) ?? []).map(({ key, value }) => {
    last = value === null ? last : (JSON.parse(value.toString()) as { op: string }).op;
    return `${last} ${(JSON.parse(String(key)) as { id: number }).id}`;
  });
}

function kinds(kafka: Kafka): string[] {
  return kafka.out
    .map(({ manifest }) => manifest.kind)
    .filter((kind, index, all) => kind !== 'empty' || index === all.length - 1);
}

function idOf(value: Buffer | null): string {
  const { version, structure } = JSON.parse(String(value)) as { version: number; structure: TableStructure };
  return `${structure.topic}:${version}`;
}

function nameOf({ schema, table: name, topic }: TableStructure): { schema: string; table: string; topic: string } {
  return { schema, table: name, topic };
}

function buffer(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text);
}
