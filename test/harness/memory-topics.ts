import type { EpochReader } from '#core/epoch-reader.ts';
import { formatLsn, lsnOf } from '#core/lsn.ts';
import {
  addToTotal,
  MANIFEST_FORMAT,
  totalOf,
  type ControlEntry,
  type Manifest,
  type ManifestRange,
  type StoredManifest,
} from '#core/manifest.ts';
import { POSITION_BYTES, writePosition } from '#core/position.ts';
import { placeKey } from '#core/record-counts.ts';
import type { KafkaRecord } from '#core/record.ts';
import { structureRecord } from '#core/structure-record.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import type { TableName } from '#core/table-name.ts';

type Cells = Readonly<Record<string, string | number | boolean | null>>;
type NewRecord = Omit<KafkaRecord, 'offset'>;

/** A change of the stream: what its envelope holds, and the commit LSN of its transaction. */
export interface TestChange {
  readonly structure: TableStructure;
  readonly commit: number;
  readonly op: 'c' | 'u' | 'd';
  readonly before?: Cells;
  readonly after?: Cells;
  /** Where its record stands; 0 unless said. */
  readonly partition?: number;
  /** In the place of what it would be: a damaged record. */
  readonly damage?: Partial<NewRecord>;
}

export const SCHEMAS_TOPIC = 'test.schemas';

/** A pipeline's topics in memory, written as a producer does: a part and its manifest at once. */
export class MemoryTopics {
  readonly #incarnation: string;
  readonly #atOnce: number;
  /** By placeKey. */
  readonly #records = new Map<string, KafkaRecord[]>();
  readonly #manifests: StoredManifest[] = [];
  readonly #written = new EventTarget();
  #ordinal = 0;
  #epoch = 1;
  #through = 1;

  /** `atOnce`: manifests that a reader gets at a time. A sink takes whole epochs that it gets together as one. */
  constructor(incarnation: string, atOnce = Infinity) {
    this.#incarnation = incarnation;
    this.#atOnce = atOnce;
  }

  get reader(): EpochReader {
    return {
      manifests: (from, signal) => this.#read(Number(from), signal),
      read: (range, signal) => this.#readRange(range, signal),
      last: () => Promise.resolve(this.#manifests.at(-1) ?? null),
      end: () => Promise.resolve(BigInt(this.#manifests.length)),
      close: () => Promise.resolve(),
    };
  }

  /** Values of the topic of structures. */
  structures(): Buffer[] {
    return (this.#records.get(placeKey({ topic: SCHEMAS_TOPIC, partition: 0 })) ?? []).flatMap(({ value }) =>
      value === null ? [] : [value],
    );
  }

  plan(load: number, structures: readonly TableStructure[]): void {
    const tables = structures.map((structure) => ({ ...nameOf(structure), chunks: 1, rows: 0 }));
    this.#write({ kind: 'plan', load, tables, ranges: this.#announce(structures) });
  }

  /** A load to come while the stream goes on. */
  announce(load: number, structures: readonly TableStructure[]): void {
    const tables = structures.map((structure) => ({ ...nameOf(structure), chunks: 0, rows: 0 }));
    this.#write({ kind: 'announce', load, tables, loaded: false, late: { at: null, requests: [] } });
  }

  chunk(load: number, structure: TableStructure, chunk: number, rows: readonly Cells[]): void {
    const records = rows.map((after) =>
      toRecord({ before: null, after, op: 'r' }, [['structure', uint32(structureVersion(structure))]]),
    );
    const ranges = this.#append(structure.topic, records);
    this.#write({ kind: 'chunk', load, chunk, rows: rows.length, table: nameOf(structure), ranges });
  }

  tableEnd(load: number, structure: TableStructure, snapshot: number): void {
    this.#write({ kind: 'tableEnd', load, table: nameOf(structure), snapshot: lsnText(snapshot) });
  }

  end(load: number): void {
    this.#write({ kind: 'end', load, loaded: true });
  }

  /** An epoch, or a part of one; `announce` names structures that were never used before. */
  stream(
    changes: readonly TestChange[],
    part: {
      last?: boolean;
      control?: ControlEntry[];
      announce?: TableStructure[];
      /** A key changes in it, say. */
      joint?: boolean;
      commitTime?: number;
      /** One more record on the topic of structures. */
      named?: NewRecord;
    } = {},
  ): void {
    const byPlace = new Map<string, { topic: string; partition: number; records: NewRecord[] }>();
    for (const change of changes) {
      const { topic } = change.structure;
      const { partition = 0 } = change;
      const place = placeKey({ topic, partition });
      const known = byPlace.get(place) ?? { topic, partition, records: [] };
      known.records.push(this.#toChange(change));
      byPlace.set(place, known);
    }
    const ranges = [...byPlace.values()].flatMap(({ topic, partition, records }) =>
      this.#append(topic, records, partition),
    );
    const { last = true, control = [], announce = [], joint, commitTime } = part;
    const commits = changes.map(({ commit }) => commit);
    if (last) this.#through = Math.max(this.#through, ...commits.map((commit) => commit + 1));
    this.#write({
      kind: 'stream',
      last,
      control,
      ...(joint === undefined ? {} : { joint }),
      lastCommit: commits.length === 0 ? null : lsnText(Math.max(...commits)),
      commitTime: commitTime === undefined ? null : String(commitTime),
      ranges: [
        ...this.#announce(announce),
        ...(part.named === undefined ? [] : this.#append(SCHEMAS_TOPIC, [part.named])),
        ...ranges,
      ],
    });
    if (last) this.#epoch += 1;
  }

  /** A record that somebody else wrote: no manifest names it. */
  stray(topic: string, record: NewRecord): void {
    this.#append(topic, [record]);
  }

  empty(through: number): void {
    this.#through = through;
    this.#write({ kind: 'empty' });
  }

  truncate(structures: readonly TableStructure[], commit: number): ControlEntry {
    this.#ordinal += 1;
    const topics = structures.map(({ topic }) => topic);
    return {
      kind: 'truncate',
      commit: lsnText(commit),
      ordinal: this.#ordinal,
      topics,
      cascade: false,
      restartIdentity: false,
    };
  }

  #announce(structures: readonly TableStructure[]): ManifestRange[] {
    return this.#append(
      SCHEMAS_TOPIC,
      structures.map((one) => ({ key: null, value: Buffer.from(structureRecord(one).value), headers: new Map() })),
    );
  }

  #toChange({ structure, commit, op, before, after, damage }: TestChange): NewRecord {
    this.#ordinal += 1;
    const position = Buffer.alloc(POSITION_BYTES);
    writePosition(position, 0, { commit: lsnOf(BigInt(commit)), ordinal: this.#ordinal });
    const record = toRecord({ before: before ?? null, after: after ?? null, op }, [
      ['pos', position],
      ['xid', Buffer.alloc(8)],
      ['epoch', Buffer.alloc(8)],
      ['structure', uint32(structureVersion(structure))],
    ]);
    return { ...record, ...damage };
  }

  #append(topic: string, added: readonly NewRecord[], partition = 0): ManifestRange[] {
    const place = placeKey({ topic, partition });
    const records = this.#records.get(place) ?? [];
    this.#records.set(place, records);
    const first = records.length;
    for (const record of added) records.push({ ...record, offset: BigInt(records.length) });
    if (added.length === 0) return [];
    return [{ topic, partition, first: String(first), last: String(records.length - 1), count: added.length }];
  }

  #write(draft: Partial<Manifest> & Pick<Manifest, 'kind'>): void {
    const written = { ranges: [], ...draft };
    const manifest: Manifest = {
      format: MANIFEST_FORMAT,
      incarnation: this.#incarnation,
      epoch: this.#epoch,
      part: 1,
      last: true,
      firstCommit: null,
      lastCommit: null,
      lastOrdinal: 0,
      through: lsnText(this.#through),
      commitTime: null,
      systemId: '1',
      timeline: 1,
      load: 1,
      control: [],
      plan: '0',
      ...written,
      total: addToTotal(totalOf(this.#manifests.at(-1)?.manifest ?? null), written, SCHEMAS_TOPIC),
    };
    this.#manifests.push({ offset: BigInt(this.#manifests.length), manifest });
    this.#written.dispatchEvent(new Event('written'));
  }

  async *#read(from: number, signal: AbortSignal): AsyncGenerator<readonly StoredManifest[]> {
    for (let next = from; !signal.aborted;) {
      const found = this.#manifests.slice(next, next + this.#atOnce);
      next += found.length;
      if (found.length > 0) yield found;
      else await this.#whenMore(next, signal);
    }
  }

  #whenMore(next: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (this.#manifests.length > next || signal.aborted) return resolve();
      const done = new AbortController();
      const wake = (): void => {
        done.abort();
        resolve();
      };
      this.#written.addEventListener('written', wake, { signal: done.signal });
      signal.addEventListener('abort', wake, { signal: done.signal });
    });
  }

  /** Two records at a time, so that a range comes in several arrays. */
  async *#readRange(range: ManifestRange, signal: AbortSignal): AsyncGenerator<readonly KafkaRecord[]> {
    const { first, last } = range;
    const records = (this.#records.get(placeKey(range)) ?? []).slice(Number(first), Number(last) + 1);
    for (let at = 0; at < records.length && !signal.aborted; at += 2) yield records.slice(at, at + 2);
  }
}

function toRecord(envelope: object, headers: readonly (readonly [string, Buffer])[]): NewRecord {
  return { key: null, value: Buffer.from(JSON.stringify(envelope)), headers: new Map(headers) };
}

function nameOf({ schema, table, topic }: TableStructure): TableName & { topic: string } {
  return { schema, table, topic };
}

function lsnText(value: number): string {
  return formatLsn(lsnOf(BigInt(value)));
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
