import { pino } from 'pino';
import type { PauseGate } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { EpochWriter, PartitionRecords } from '#core/epoch-writer.ts';
import { EventEncoder } from '#core/event-encoder.ts';
import { transactionFacts } from '#core/event-tail.ts';
import { writeLetterCommand, type LetterCommand, type LetterOutcome } from '#core/letter-command.ts';
import { lsnOf } from '#core/lsn.ts';
import type { Manifest, ManifestRange, StoredManifest } from '#core/manifest.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import { chunkHeaders, streamHeaders, type KafkaRecord } from '#core/record.ts';
import { countRecords, placeKey, RangeCutter } from '#core/record-counts.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { printRules } from '#core/rules/rules-print.ts';
import { needsState, RuleMemory } from '#core/rules/rule-memory.ts';
import { RuleState } from '#core/rules/rule-state.ts';
import { createMemoryStore } from '#core/rules/row-store.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import { structureRecord } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { parseWaitingLetter } from '#core/waiting-letter.ts';
import { LetterCommands } from '../../services/cli/letter-commands.ts';
import { EventShaper } from '../../services/transformer/event-shaper.ts';
import { HeldLetters } from '../../services/transformer/held-letters.ts';
import { KeptState } from '../../services/transformer/kept-state.ts';
import { OutputQuarantine } from '../../services/transformer/output-quarantine.ts';
import { readLetter } from '../../services/transformer/read-letter.ts';
import { transform } from '../../services/transformer/transformer.ts';
import { readHeaders, STAMP, unseal } from './batch-records.ts';

export const RAW = 'shop';
export const SHAPED = 'shop.shaped.main.v1';
export const STATE = 'shop.state.main.v1';
export const HELD = 'shop.state.main.v1.held';

/** Raw and shaped topics of one pipeline, in memory. */
export interface MemoryHistory {
  readonly raw: StoredManifest[];
  readonly out: StoredManifest[];
  readonly records: Map<string, KafkaRecord[]>;
  /** How many manifests each transaction of `out` brought. */
  readonly transactions: number[];
}

/** A record that is to be written. */
export interface Entry {
  readonly topic: string;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Buffer;
}

export interface LifeOptions {
  readonly rules: readonly RuleConfig[];
  /** Ends once it has written so many manifests, or all that there are. */
  readonly writes?: number;
  readonly policy?: QuarantinePolicy;
  readonly laterChanges?: 'wait' | 'pass';
  /** A person says that other rules than before may go on. */
  readonly acceptsRules?: boolean;
  readonly validations?: readonly ValidationConfig[];
  /** Waiting on the control topic; what became of them comes to `onAnswer`. */
  readonly commands?: readonly LetterCommand[];
  readonly onAnswer?: (outcomes: readonly LetterOutcome[]) => void;
  /** Each transaction waits for it before anything of it is there. */
  readonly whenWriting?: () => Promise<void>;
  readonly onRead?: (range: ManifestRange) => void;
  readonly gate?: PauseGate;
}

export function newHistory(): MemoryHistory {
  return { raw: [], out: [], records: new Map(), transactions: [] };
}

export function addManifest(kafka: MemoryHistory, extra: Partial<Manifest>, entries: readonly Entry[] = []): void {
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

/** A history whose load ended before the stream began: each table in one chunk, in this order, all of one snapshot. */
export function loadedHistory(
  tables: readonly (readonly [TableStructure, readonly Entry[]])[],
  epochs: readonly (readonly Entry[])[],
): MemoryHistory {
  const kafka = newHistory();
  const load = { load: 1, through: '0/A' };
  const named = tables.map(([{ schema, table, topic }, rows]) => ({ table: { schema, table, topic }, rows }));
  addManifest(kafka, { kind: 'intent', through: '0/5' });
  addManifest(kafka, { kind: 'origin', through: '0/A', snapshot: '0/A' });
  addManifest(
    kafka,
    { kind: 'plan', ...load, snapshot: '0/A', tables: named.map(({ table }) => ({ ...table, chunks: 1, rows: 0 })) },
    tables.map(([structure]) => announceEntry(structure)),
  );
  for (const { table, rows } of named) {
    addManifest(kafka, { kind: 'chunk', ...load, chunk: 0, rows: rows.length, table }, rows);
    addManifest(kafka, { kind: 'tableEnd', ...load, snapshot: '0/A', table });
  }
  addManifest(kafka, { kind: 'end', ...load, loaded: true });
  for (const [index, entries] of epochs.entries())
    addManifest(kafka, { kind: 'stream', through: `0/3${index}`, epoch: index + 1 }, entries);
  return kafka;
}

/** One life of the transformer over it. */
export async function transformHistory(
  kafka: MemoryHistory,
  {
    rules,
    writes = 99,
    policy = 'stop',
    laterChanges = 'wait',
    acceptsRules = false,
    validations = [],
    commands = [],
    onAnswer,
    whenWriting,
    onRead,
    gate = { isPaused: false, whenRunning: () => Promise.resolve() },
  }: LifeOptions,
): Promise<ServiceStatus> {
  const status = newStatus('transformer', 'main');
  const output = { name: 'main', version: 1, rules, validations, quarantine: policy };
  const stop = new AbortController();
  const letters = new LetterCommands((_, outcomes) => Promise.resolve(onAnswer?.(outcomes)));
  for (const command of commands) letters.take(command.id, Buffer.from(writeLetterCommand(command)));
  let left = writes;
  const reader = readerOf(kafka, () => stop.abort(), onRead);
  const writer = writerOf(
    kafka,
    () => {
      left -= 1;
      if (left === 0) stop.abort();
    },
    whenWriting,
  );
  const options = {
    reader,
    rules,
    validations,
    rawSchemasTopic: `${RAW}.schemas`,
    shapedPrefix: SHAPED,
    shapedSchemasTopic: `${SHAPED}.schemas`,
    written: new Set((kafka.records.get(`${SHAPED}.schemas`) ?? []).map(({ value }) => idOf(value))),
    state: needsState(output) ? stateOf(kafka, reader, status) : null,
  };
  await transform(
    {
      output,
      shapedPrefix: SHAPED,
      rules: { print: printRules(output, null), areAccepted: acceptsRules },
      rawSchemasTopic: `${RAW}.schemas`,
      reader,
      ahead: readerOf(kafka, () => undefined),
      writer,
      makeShaper: () => Promise.resolve(new EventShaper(options, structureValues(kafka))),
      makeQuarantine: (shaper) =>
        Promise.resolve(
          new OutputQuarantine({
            policy,
            readLetter: laterChanges === 'pass' ? (letter, until) => readLetter(reader, letter, until) : null,
            name: RAW,
            service: 'transformer main',
            output: 'main',
            topic: HELD,
            held: waitingLetters(kafka),
            shaper,
            status,
            clock: () => 0,
          }),
        ),
      ensureTopics: () => Promise.resolve(),
      ensureSideTopics: () => Promise.resolve(),
      status,
      gate,
      letters,
      logger: pino({ level: 'silent' }),
      clock: () => 0,
    },
    stop.signal,
  );
  return status;
}

function stateOf(kafka: MemoryHistory, reader: EpochReader, status: ServiceStatus): KeptState {
  return new KeptState({
    memory: new RuleMemory(new RuleState(createMemoryStore())),
    prefix: STATE,
    reader,
    async *readTopic(topic) {
      yield* await Promise.resolve([kafka.records.get(topic) ?? []]);
    },
    status,
    logger: pino({ level: 'silent' }),
    clock: () => 0,
  });
}

/** What waits, as the compacted topic has it. */
export function waitingLetters(kafka: MemoryHistory): HeldLetters {
  const newest = new Map((kafka.records.get(HELD) ?? []).map(({ key, value }) => [String(key), value]));
  return new HeldLetters(
    [...newest.values()].flatMap((value) => (value === null ? [] : [parseWaitingLetter(value, HELD)])),
  );
}

/** Why each waits, in order. */
export function waitingCodes(kafka: MemoryHistory): string[] {
  return waitingLetters(kafka)
    .all()
    .map(({ code }) => code);
}

function structureValues(kafka: MemoryHistory): Buffer[] {
  return (kafka.records.get(`${RAW}.schemas`) ?? []).flatMap(({ value }) => (value === null ? [] : [value]));
}

function readerOf(
  kafka: MemoryHistory,
  onEnd: () => void,
  onRead: (range: ManifestRange) => void = () => undefined,
): EpochReader {
  return {
    async *manifests(from, signal) {
      const all = kafka.raw.filter(({ offset }) => offset >= from);
      if (all.length > 0 && !signal.aborted) yield all;
      onEnd();
    },
    async *read(range) {
      onRead(range);
      yield (kafka.records.get(range.topic) ?? []).slice(Number(range.first), Number(range.last) + 1);
    },
    last: () => Promise.resolve(kafka.raw.at(-1) ?? null),
    end: () => Promise.resolve(BigInt(kafka.raw.length)),
    close: () => Promise.resolve(),
  };
}

function writerOf(
  kafka: MemoryHistory,
  onWrite: () => void,
  whenWriting: () => Promise<void> = () => Promise.resolve(),
): EpochWriter {
  const writeAll: EpochWriter['writeAll'] = async (entries, data, side = []) => {
    await whenWriting();
    const cutter = new RangeCutter(new Map(appendAll(kafka, data).map((range) => [placeKey(range), range])));
    appendAll(kafka, side);
    kafka.transactions.push(entries.length);
    return entries.map(({ draft, counts }) => {
      const manifest = { ...draft, format: 1, ranges: cutter.next(counts) };
      const stored = { offset: BigInt(kafka.out.length), manifest };
      kafka.out.push(stored);
      onWrite();
      return stored;
    });
  };
  return {
    open: () => Promise.resolve(),
    last: () => Promise.resolve(kafka.out.at(-1) ?? null),
    writeAll,
    write: async (draft, data, side = []) => {
      const [stored] = await writeAll([{ draft, counts: countRecords(data) }], data, side);
      if (stored === undefined) throw new Error('nothing was written');
      return stored;
    },
    close: () => Promise.resolve(),
  };
}

function appendAll(kafka: MemoryHistory, data: readonly PartitionRecords[]): ManifestRange[] {
  const ranges: ManifestRange[] = [];
  for (const { topic, batches } of data)
    for (const batch of batches) for (const record of unseal(batch.seal(STAMP))) append(kafka, ranges, topic, record);
  return ranges;
}

function append(
  kafka: MemoryHistory,
  ranges: ManifestRange[],
  topic: string,
  record: Omit<KafkaRecord, 'offset'>,
): void {
  const list = kafka.records.get(topic) ?? [];
  kafka.records.set(topic, list);
  const at = ranges.findIndex((range) => range.topic === topic);
  const offset = String(list.length);
  list.push({ ...record, offset: BigInt(offset) });
  const known = ranges[at];
  if (known === undefined) ranges.push({ topic, partition: 0, first: offset, last: offset, count: 1 });
  else ranges[at] = { ...known, last: offset, count: known.count + 1 };
}

/** A change as the producer writes it; `before` is the old row whole. */
export function changeEntry(
  structure: TableStructure,
  op: 'c' | 'u' | 'd',
  values: readonly (string | null)[],
  at: { readonly commit: number; readonly ordinal?: number },
  before: readonly (string | null)[] | null = null,
): Entry {
  const encode = new EventEncoder(structure, structure.columns, RAW, 'db', '0.1.0');
  const position = { commit: lsnOf(BigInt(at.commit)), ordinal: at.ordinal ?? 1 };
  const old = op === 'd' ? (before ?? values) : before;
  const value = encode.change(
    op,
    old === null ? 'null' : encode.row([...old]),
    op === 'd' ? 'null' : encode.row([...values]),
    transactionFacts(position.commit, 1, 1_700_000_000_123_456_789n),
    { lsn: lsnOf(1n), ordinal: position.ordinal, tableOrdinal: 1, processedMs: 5 },
  );
  const headers = streamHeaders({ position, xid: 1n, epoch: 1, structure: structureRecord(structure).version });
  return { topic: structure.topic, key: encode.key([...values]), value: String(value), headers: Buffer.from(headers) };
}

/** A row of a load. */
export function rowEntry(structure: TableStructure, row: number, values: readonly (string | null)[]): Entry {
  const encode = new EventEncoder(structure, structure.columns, RAW, 'db', '0.1.0');
  const headers = Buffer.from(chunkHeaders(0, row, 0, structureRecord(structure).version));
  const value = String(encode.snapshot([...values], lsnOf(10n), 5).value);
  return { topic: structure.topic, key: encode.key([...values]), value, headers };
}

export function announceEntry(structure: TableStructure): Entry {
  const { key, value } = structureRecord(structure);
  return { topic: `${RAW}.schemas`, key, value, headers: Buffer.from([0]) };
}

/** Op and `id` of each record of a topic; a tombstone has its delete's. */
export function textsOf(kafka: MemoryHistory, topic: string): string[] {
  let last = '';
  return (kafka.records.get(topic) ?? []).map(({ key, value }) => {
    last = value === null ? last : (JSON.parse(value.toString()) as { op: string }).op;
    return `${last} ${(JSON.parse(String(key)) as { id: number }).id}`;
  });
}

function idOf(value: Buffer | null): string {
  const { version, structure } = JSON.parse(String(value)) as { version: number; structure: TableStructure };
  return `${structure.topic}:${version}`;
}

function buffer(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text);
}
