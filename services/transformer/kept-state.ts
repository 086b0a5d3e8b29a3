import * as z from 'zod';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { type KafkaRecord } from '#core/record.ts';
import type { ReadRow } from '#core/rules/event-place.ts';
import type { RuleMemory } from '#core/rules/rule-memory.ts';
import type { ServiceStatus } from '#core/status.ts';
import { formatTable } from '#core/table-name.ts';
import type { RecordSink } from '#core/topic-batches.ts';
import { tableTopic } from '#core/topic-names.ts';
import type { Alteration } from './event-shaper.ts';
import { splitEnvelope } from './envelope-text.ts';

export interface KeptStateOptions {
  readonly memory: RuleMemory;
  /** `<name>.state.<output>.v<N>`. */
  readonly prefix: string;
  readonly reader: EpochReader;
  /** The committed records of a compacted topic up to its end; none where there is no such topic. */
  readonly readTopic: (topic: string) => AsyncIterable<readonly KafkaRecord[]>;
  readonly status: ServiceStatus;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** The first record of a state's topic: which rows count. */
interface Head {
  /** Rows of others are void. */
  readonly generation: number;
  /** While what a late load did to rows that look this table up is still to be written; null for nothing. */
  readonly previous: Reload | null;
  readonly columns: readonly string[];
}

interface Reload {
  /** What those rows were shaped with. */
  readonly generation: number;
  /** The load's first: tables of this generation or a later one were loaded after. */
  readonly since: number;
}

interface Kept {
  readonly heads: ReadonlyMap<string, Head>;
  readonly previous: ReadonlyMap<string, Reload>;
}

const STATE_FORMAT = 1;
const HEAD_KEY = 'head';
const headSchema = z.object({
  format: z.number(),
  generation: z.number(),
  previous: z.object({ generation: z.number(), since: z.number() }).nullable(),
  columns: z.array(z.string()),
});
/** Room for so many truncations in one manifest: generations grow with the manifests' offsets. */
const A_MANIFEST = 2 ** 20;
const FLUSH_ROWS = 10_000;
const SWEPT_ROWS = 2_000;

/**
 * The rules' state, as Kafka keeps it: a compacted topic a table, written in the epochs' transactions, read whole at the start. The store
 * under the memory is a cache of it. Tables that are looked up are read before the others of a load, so there the cache is ahead of Kafka.
 */
export class KeptState {
  readonly memory: RuleMemory;
  readonly #options: KeptStateOptions;
  /** As Kafka has them, with what is being written. */
  #heads = new Map<string, Head>();
  /** Of looked up tables that the load takes: whether the newest plan's rows are being read. */
  readonly #opened = new Map<string, boolean>();
  /** By table of the load, its plan's generation. */
  readonly #planned = new Map<string, number>();
  /** By looked up table. */
  #previous = new Map<string, Reload>();
  /** As of the last epoch. */
  #kept: Kept = { heads: new Map(), previous: new Map() };
  #isPlanned = false;
  #isLate = false;

  constructor(options: KeptStateOptions) {
    this.#options = options;
    this.memory = options.memory;
  }

  /** Reads what an earlier life wrote. @throws RestageError rule_invalid where the output has begun without it. */
  async restore(hasBegun: boolean): Promise<void> {
    const { status, logger, clock } = this.#options;
    const startedAt = clock();
    let rows = 0;
    for (const { topic, columns } of this.memory.state.tables) {
      for await (const records of this.#options.readTopic(this.#stateTopic(topic))) {
        for (const record of records) rows += this.#restoreRecord(topic, record) ? 1 : 0;
        if (this.memory.state.pending >= FLUSH_ROWS) await this.memory.state.flush();
        status.detail = `reads the rules' state: ${rows} rows`;
      }
      const head = this.#heads.get(topic);
      if (head === undefined && !hasBegun) continue;
      if (head === undefined || columns.some((column) => !head.columns.includes(column)))
        throw this.#lacking(topic, head === undefined);
      this.memory.state.begin(topic, head.generation);
      if (head.previous !== null) this.#previous.set(topic, head.previous);
    }
    await this.committed();
    status.detail = '';
    if (rows > 0) logger.info({ rows, seconds: (clock() - startedAt) / 1000 }, "the rules' state was read");
  }

  /** A load begins, whose looked up tables are to be read first. */
  beginLoad(isLate: boolean): void {
    this.#isLate = isLate;
    this.#opened.clear();
    this.#isPlanned = false;
  }

  /** Takes the rows of tables that are looked up into the cache; true when the load has no more of them. */
  async takeLookedUp({ manifest, offset }: StoredManifest, signal: AbortSignal): Promise<boolean> {
    const { kind, table, tables = [] } = manifest;
    if (kind === 'plan') {
      this.#isPlanned = true;
      for (const { topic } of tables) if (this.memory.isLookedUp(topic)) this.#open(topic, Number(offset) * A_MANIFEST);
    }
    const isRead = table !== undefined && this.#opened.get(table.topic) === true;
    if (kind === 'chunk' && isRead) await this.#takeChunk(manifest, table.topic, signal);
    if (kind === 'tableEnd' && table !== undefined) this.#opened.delete(table.topic);
    await this.committed();
    return kind === 'end' || (this.#isPlanned && this.#opened.size === 0);
  }

  /** A plan is passed on: its tables begin anew. Tables without a head get one, so that a state that was lost is told from an empty one. */
  plan({ manifest, offset }: StoredManifest, side: RecordSink): void {
    const planned = new Set(manifest.tables?.map(({ topic }) => topic));
    for (const { topic, columns } of this.memory.state.tables) {
      if (!planned.has(topic)) {
        if (!this.#heads.has(topic)) this.#writeHead(topic, { generation: 0, previous: null, columns }, side);
        continue;
      }
      const generation = Number(offset) * A_MANIFEST;
      const previous = this.#previous.get(topic) ?? null;
      this.#writeHead(topic, { generation, previous, columns }, side);
      if (!this.memory.isLookedUp(topic)) this.memory.state.begin(topic, generation);
    }
  }

  /** Rows of a table as they are now, by their keys. */
  note(topic: string, changes: ReadonlyMap<string, string | null>, side: RecordSink): void {
    const { generation = 0 } = this.#heads.get(topic) ?? {};
    for (const [key, text] of changes) side.append(this.#stateTopic(topic), `${generation} ${key}`, text, NO_HEADERS);
  }

  /** The tables are empty from here on. Returns how their rows were. */
  truncate(topics: readonly string[], offset: bigint, side: RecordSink): ReadRow {
    const before = new Map<string, number>();
    for (const topic of topics) {
      const known = this.memory.state.generationOf(topic);
      const generation = Math.max(known + 1, Number(offset) * A_MANIFEST);
      before.set(topic, known);
      this.memory.state.begin(topic, generation);
      const { columns = [] } = this.#heads.get(topic) ?? {};
      this.#writeHead(topic, { generation, previous: null, columns }, side);
    }
    return this.#readBefore(before);
  }

  /** A plan of a load that is passed on now, or was. */
  notePlan({ manifest, offset }: StoredManifest): void {
    for (const { topic } of manifest.tables ?? []) this.#planned.set(topic, Number(offset) * A_MANIFEST);
  }

  /** Whether the rows of two tables are of one plan, so of one snapshot, and the first one's were not emptied since. */
  areLoadedTogether(topic: string, other: string): boolean {
    return this.memory.state.generationOf(topic) === this.#planned.get(other);
  }

  /** Something is remembered: a check that needs no more than a key of the source does not. */
  get isNeeded(): boolean {
    return this.memory.state.tables.length > 0;
  }

  /** Tables that were loaded anew, whose rows others look up that were not loaded after them: what became of those is still to be written. */
  get reloaded(): ReadonlySet<string> {
    return new Set(this.#previous.keys());
  }

  /** How their rows were. */
  get beforeReload(): ReadRow {
    return this.#readBefore(new Map([...this.#previous].map(([topic, { generation }]) => [topic, generation])));
  }

  /** What is remembered has the columns' names and types of its time. @throws RestageError rule_failed. */
  requireUnaltered({ topic, commit, changes }: Alteration): void {
    if (!this.memory.has(topic)) return;
    const { columns = [] } = this.#heads.get(topic) ?? {};
    const altered = changes.flatMap((change) =>
      (change.kind === 'rename' || change.kind === 'retype') && columns.includes(change.column) ? [change.column] : [],
    );
    if (altered.length === 0) return;
    throw new RestageError('rule_failed', 'a column was altered that rules remember', {
      where: `${topic}, LSN ${commit}: ${altered.join(', ')}`,
      fix: 'start the output anew under its next version',
    });
  }

  /** Whether a row was shaped after the table that it looks up was loaded anew. */
  isShapedAfter(topic: string, lookedUp: string): boolean {
    return this.memory.state.generationOf(topic) >= (this.#previous.get(lookedUp)?.since ?? 0);
  }

  /** It is written in this epoch. */
  settleReload(side: RecordSink): void {
    for (const topic of this.#previous.keys()) {
      const head = this.#heads.get(topic);
      if (head !== undefined) this.#writeHead(topic, { ...head, previous: null }, side);
    }
    this.#previous.clear();
  }

  /** Void rows go from Kafka and from the cache, some with every epoch. */
  async sweep(side: RecordSink): Promise<void> {
    if (this.#previous.size > 0) return;
    for (const { topic } of this.memory.state.tables)
      for (const { generation, key } of await this.memory.state.sweep(topic, SWEPT_ROWS))
        side.append(this.#stateTopic(topic), `${generation} ${key}`, null, NO_HEADERS);
  }

  /** The epoch's transaction is committed. */
  async committed(): Promise<void> {
    this.#kept = { heads: new Map(this.#heads), previous: new Map(this.#previous) };
    await this.memory.state.flush();
  }

  /** The epoch is given up, to be shaped again. */
  rollback(): void {
    this.#heads = new Map(this.#kept.heads);
    this.#previous = new Map(this.#kept.previous);
    this.memory.state.rollback();
  }

  close(): Promise<void> {
    return this.memory.state.close();
  }

  #readBefore(generations: ReadonlyMap<string, number>): ReadRow {
    const at = new Map(generations);
    const { state } = this.memory;
    return (topic, key) => state.readAt(topic, at.get(topic) ?? state.generationOf(topic), key);
  }

  /** An older plan than the one whose rows the cache has was replaced by that. */
  #open(topic: string, generation: number): void {
    const known = this.memory.state.generationOf(topic);
    this.#opened.set(topic, generation >= known);
    if (generation <= known) return;
    if (this.#isLate && !this.#previous.has(topic)) this.#previous.set(topic, { generation: known, since: generation });
    this.memory.state.begin(topic, generation);
  }

  async #takeChunk(manifest: Manifest, topic: string, signal: AbortSignal): Promise<void> {
    const { reader } = this.#options;
    const { state } = this.memory;
    for (const range of manifest.ranges) {
      if (range.topic !== topic) continue;
      for await (const records of reader.read(range, signal)) {
        for (const { key, value, offset } of records) {
          if (key === null || value === null) continue;
          const { event } = splitEnvelope(value, `topic ${topic}, partition ${range.partition}, offset ${offset}`);
          state.write(topic, key.toString('utf8'), event.after);
        }
        if (state.pending >= FLUSH_ROWS) await state.flush();
      }
    }
  }

  /** Whether it is a row's. */
  #restoreRecord(topic: string, { key, value, offset }: KafkaRecord): boolean {
    const text = key?.toString('utf8') ?? '';
    const where = `topic ${this.#stateTopic(topic)}, partition 0, offset ${offset}`;
    if (text === HEAD_KEY) {
      this.#heads.set(topic, parseHead(value, where));
      return false;
    }
    const space = text.indexOf(' ');
    const generation = Number(text.slice(0, space));
    if (space < 1 || !Number.isSafeInteger(generation))
      throw new RestageError('record_invalid', "a record is none of the rules' state", { where });
    this.memory.state.restore(topic, generation, text.slice(space + 1), value?.toString('utf8') ?? null);
    return value !== null;
  }

  #writeHead(topic: string, head: Head, side: RecordSink): void {
    this.#heads.set(topic, head);
    side.append(this.#stateTopic(topic), HEAD_KEY, JSON.stringify({ format: STATE_FORMAT, ...head }), NO_HEADERS);
  }

  #stateTopic(topic: string): string {
    const table = this.memory.state.tables.find((one) => one.topic === topic)?.table;
    if (table === undefined) throw new RestageError('bug', 'rules remember nothing of this table', { where: topic });
    return tableTopic(this.#options.prefix, table);
  }

  #lacking(topic: string, isLost: boolean): RestageError {
    const table = this.memory.state.tables.find((one) => one.topic === topic)?.table ?? { schema: '', table: topic };
    const what = isLost ? 'there is no state of a table' : 'the state of a table lacks columns';
    return new RestageError(
      'rule_invalid',
      `${what} that the rules need since the output began: ${formatTable(table)}`,
      {
        where: `topic ${this.#stateTopic(topic)}`,
        fix: "raise the output's version: rules that look up rows, or have state, begin with the history",
      },
    );
  }
}

function parseHead(value: Buffer | null, where: string): Head {
  let json: unknown = null;
  try {
    json = JSON.parse(value?.toString('utf8') ?? 'null');
  } catch {
    // Told below.
  }
  const head = headSchema.safeParse(json).data;
  if (head === undefined)
    throw new RestageError('record_invalid', "the head of the rules' state cannot be read", { where });
  if (head.format <= STATE_FORMAT) return head;
  throw new RestageError('state_newer', `the rules' state has form ${head.format}, newer than this Restage reads`, {
    where,
    fix: 'use the newer version of Restage that wrote it',
  });
}
