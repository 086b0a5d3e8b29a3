import { readCommittedSpan } from '#adapters/kafka/committed-span.ts';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import type { Image } from '#core/change.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Logger } from '#core/log.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import { prefixOf } from '#core/output-ref.ts';
import { readStreamHeaders, type KafkaRecord } from '#core/record.ts';
import { placeKey } from '#core/record-counts.ts';
import { findStructures, structureId } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { tableKey } from '#core/table-name.ts';
import { parseChange } from '../../sink/event-parser.ts';
import { openControlPool } from '../control-topic.ts';
import { offsetOf } from '../transform/history-events.ts';
import type { Line } from './ends.ts';

/** What events since an LSN named of a table at the target: keys as texts in their columns' order. */
export type TableKeys = ReadonlyMap<string, readonly string[]>;

interface Span {
  readonly topic: string;
  readonly partition: number;
  readonly first: bigint;
  readonly last: bigint;
}

/** More than these are too many to compare in a fence (invariant 6). */
const MOST_KEYS = 100_000;

/**
 * Keys that changed since a comparison of all rows, by table at the target, from the topics that the line's sink reads. What is there
 * before a switch is collected before it, so that in the fence only the rest is left to read.
 */
export class ChangedKeys implements AsyncDisposable {
  readonly #pool: ConnectionPool;
  readonly #prefix: string;
  readonly #reader: EpochReader;
  readonly #keys = new Map<string, Map<string, readonly string[]>>();
  readonly #whole = new Set<string>();
  #next: bigint;
  #count = 0;

  private constructor(pool: ConnectionPool, prefix: string, reader: EpochReader, next: bigint) {
    this.#pool = pool;
    this.#prefix = prefix;
    this.#reader = reader;
    this.#next = next;
  }

  static async open({ config, target }: Line, since: Lsn, logger: Logger): Promise<ChangedKeys> {
    const pool = openControlPool(config, logger);
    try {
      const prefix = prefixOf(config, target.output);
      const reader = createKafkaEpochReader({ pool, prefix, logger });
      const next = await offsetOf(pool, prefix, { kind: 'lsn', lsn: since }, await reader.end());
      return new ChangedKeys(pool, prefix, reader, next);
    } catch (error) {
      await pool.close();
      throw error;
    }
  }

  /** So many that nobody can look at all of them in a fence. */
  get isTooMany(): boolean {
    return this.#count > MOST_KEYS;
  }

  /** By `tableKey`. */
  keysOf(table: string): TableKeys {
    return this.#keys.get(table) ?? new Map<string, readonly string[]>();
  }

  /** Something happened to it that no keys tell: it was truncated, loaded again, or its rows have no key. */
  isWhole(table: string): boolean {
    return this.#whole.has(table);
  }

  /** Reads on to the newest manifest that is there now. */
  async collect(signal: AbortSignal): Promise<void> {
    const newest = await this.#reader.last();
    if (newest === null || newest.offset < this.#next || this.isTooMany) return;
    const records = findStructures((await readCompacted(this.#pool, schemasTopic(this.#prefix))).values());
    const structures = new Map(records.map((record) => [structureId(record), record.structure]));
    const spans = await this.#spansUpTo(newest.offset, structures, signal);
    for (const span of spans.values())
      for await (const batch of readCommittedSpan(this.#pool, span, span, signal)) {
        for (const record of batch) this.#note(record, span.topic, structures);
        if (this.isTooMany) return;
      }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.close();
    await this.#pool.close();
  }

  /** Of each partition of a table's topic, by placeKey: from the first to the last offset that manifests name; notes what they say of whole tables. */
  async #spansUpTo(
    end: bigint,
    structures: ReadonlyMap<string, TableStructure>,
    signal: AbortSignal,
  ): Promise<Map<string, Span>> {
    const tables = new Map([...structures.values()].map((structure) => [structure.topic, structure]));
    const spans = new Map<string, Span>();
    for await (const manifests of this.#reader.manifests(this.#next, signal)) {
      for (const { manifest, offset } of manifests) {
        if (offset > end) return spans;
        this.#noteControl(manifest, tables);
        for (const range of manifest.ranges) {
          if (!tables.has(range.topic)) continue;
          const [first, last] = [BigInt(range.first), BigInt(range.last)];
          const { topic, partition } = range;
          const place = placeKey(range);
          spans.set(place, { topic, partition, first: spans.get(place)?.first ?? first, last });
        }
        this.#next = offset + 1n;
      }
      if (this.#next > end) return spans;
    }
    signal.throwIfAborted();
    return spans;
  }

  #noteControl({ control }: Manifest, tables: ReadonlyMap<string, TableStructure>): void {
    for (const entry of control) {
      const topics = entry.kind === 'truncate' ? entry.topics : entry.kind === 'ddl' ? [entry.topic] : [];
      for (const topic of topics) {
        const structure = tables.get(topic);
        if (structure !== undefined) this.#whole.add(tableKey(structure));
      }
    }
  }

  #note(record: KafkaRecord, topic: string, structures: ReadonlyMap<string, TableStructure>): void {
    if (record.value === null) return;
    const version = readStreamHeaders(record)?.structure;
    const structure =
      version === undefined ? undefined : structures.get(structureId({ version, structure: { topic } }));
    if (version === undefined || structure === undefined || structure.identity.columns.length === 0) {
      for (const one of structures.values()) if (one.topic === topic) this.#whole.add(tableKey(one));
      return;
    }
    const change = parseChange(record, structure);
    const { columns } = structure.identity;
    if (change.kind !== 'insert') this.#add(structure, columns, change.key, change.key);
    if (change.kind !== 'delete')
      this.#add(structure, columns, change.after, change.kind === 'update' ? change.key : change.after);
  }

  /** `otherwise` has what an image leaves out because it did not change. */
  #add(structure: TableStructure, columns: readonly string[], image: Image, otherwise: Image): void {
    const key = columns.map((name) => (image.has(name) ? image.get(name) : otherwise.get(name)) ?? '');
    const table = tableKey(structure);
    const keys = this.#keys.get(table) ?? new Map<string, readonly string[]>();
    this.#keys.set(table, keys);
    const id = JSON.stringify(key);
    if (!keys.has(id)) this.#count += 1;
    keys.set(id, key);
  }
}
