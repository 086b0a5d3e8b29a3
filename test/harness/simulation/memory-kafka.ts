import type { EpochReader } from '#core/epoch-reader.ts';
import type { EpochWriter, PartitionRecords, WrittenEntry } from '#core/epoch-writer.ts';
import { addToTotal, MANIFEST_FORMAT, totalOf, type ManifestRange, type StoredManifest } from '#core/manifest.ts';
import type { KafkaRecord } from '#core/record.ts';
import { countRecords, placeKey, RangeCutter } from '#core/record-counts.ts';
import { epochsTopic, schemasTopic, sharesTopic } from '#core/topic-names.ts';
import { STAMP, unseal } from '../batch-records.ts';
import type { Choices } from './choices.ts';

/** A service's process died: whatever it had in memory is gone. */
export class Death extends Error {
  override readonly name = 'Death';
}

/** Where manifests are: `<prefix>.epochs`, or a lane's partition of shares. */
export type Manifests = string | { readonly prefix: string; readonly lane: number };

function prefixOf(of: Manifests): string {
  return typeof of === 'string' ? of : of.prefix;
}

function topicOf(of: Manifests): string {
  return typeof of === 'string' ? epochsTopic(of) : placeKey({ topic: sharesTopic(of.prefix), partition: of.lane });
}

/** Topics of any number of pipelines in memory; aborted transactions leave holes in the offsets, as their markers do. */
export class MemoryKafka {
  /** Of each table's topic. */
  readonly partitions: number;
  /** By placeKey. */
  readonly #topics = new Map<string, (KafkaRecord | null)[]>();
  readonly #manifests = new Map<string, StoredManifest[]>();
  readonly #ends = new Map<string, bigint>();

  constructor(partitions = 1) {
    this.partitions = partitions;
  }

  manifests(of: Manifests): readonly StoredManifest[] {
    return this.#manifests.get(topicOf(of)) ?? [];
  }

  records(range: ManifestRange): KafkaRecord[] {
    const { first, last } = range;
    const slice = (this.#topics.get(placeKey(range)) ?? []).slice(Number(first), Number(last) + 1);
    return slice.flatMap((record) => record ?? []);
  }

  /** Values of a topic of one partition, holes left out. */
  values(topic: string): Buffer[] {
    return (this.#topics.get(placeKey({ topic, partition: 0 })) ?? []).flatMap((record) => record?.value ?? []);
  }

  /** `fates` decide which write is the last of this life: before its commit, or after it with the answer lost. */
  writer(of: Manifests, fates: Choices, onWritten: (stored: StoredManifest) => void): EpochWriter {
    const writeAll: EpochWriter['writeAll'] = async (entries, data) => {
      const fate = fates.of(10);
      if (fate === 1) {
        this.#abort(of, data);
        throw new Death('before the commit');
      }
      const all = this.#commit(of, entries, data);
      for (const stored of all) onWritten(stored);
      await Promise.resolve();
      if (fate === 2) throw new Death('after the commit');
      return all;
    };
    return {
      open: () => Promise.resolve(),
      close: () => Promise.resolve(),
      last: () => Promise.resolve(this.manifests(of).at(-1) ?? null),
      writeAll,
      write: async (draft, data) => {
        const [stored] = await writeAll([{ draft, counts: countRecords(data) }], data);
        if (stored === undefined) throw new Error('nothing was written');
        return stored;
      },
    };
  }

  /** `onEnd` is called when everything was handed over. */
  reader(of: Manifests, onEnd: () => void): EpochReader {
    const manifests = (): readonly StoredManifest[] => this.manifests(of);
    const records = (range: ManifestRange): KafkaRecord[] => this.records(range);
    return {
      async *manifests(from, signal) {
        for (let next = from; !signal.aborted;) {
          const found = manifests().filter(({ offset }) => offset >= next);
          if (found.length === 0) return onEnd();
          next = (found.at(-1)?.offset ?? next) + 1n;
          yield found;
        }
      },
      async *read(range) {
        const all = records(range);
        if (all.length !== range.count) throw new Error(`${range.topic}: a manifest names records that are not there`);
        for (let at = 0; at < all.length; at += 3) yield all.slice(at, at + 3);
      },
      last: () => Promise.resolve(manifests().at(-1) ?? null),
      end: () => Promise.resolve(this.#ends.get(topicOf(of)) ?? 0n),
      close: () => Promise.resolve(),
    };
  }

  /** In one transaction: the marker comes behind the last. */
  #commit(of: Manifests, entries: readonly WrittenEntry[], data: readonly PartitionRecords[]): StoredManifest[] {
    const topic = topicOf(of);
    const list = this.#manifests.get(topic) ?? [];
    this.#manifests.set(topic, list);
    const first = this.#ends.get(topic) ?? 0n;
    this.#ends.set(topic, first + BigInt(entries.length) + 1n);
    const places = new Set(data.map(placeKey));
    const cutter = new RangeCutter(
      new Map([...places].map((place) => [place, this.#append(data.filter((one) => placeKey(one) === place))])),
    );
    return entries.map(({ draft, counts, ranges = [] }, index) => {
      const written = { ...draft, ranges: [...ranges, ...cutter.next(counts)] };
      const total = addToTotal(totalOf(list.at(-1)?.manifest ?? null), written, schemasTopic(prefixOf(of)));
      const stored = { offset: first + BigInt(index), manifest: { ...written, format: MANIFEST_FORMAT, total } };
      list.push(stored);
      return stored;
    });
  }

  /** Records of one partition. */
  #append(data: readonly PartitionRecords[]): ManifestRange {
    const { topic, partition } = data[0] ?? { topic: '', partition: 0 };
    const place = placeKey({ topic, partition });
    const list = this.#topics.get(place) ?? [];
    this.#topics.set(place, list);
    const first = list.length;
    for (const batch of data.flatMap(({ batches }) => batches))
      for (const record of unseal(batch.seal(STAMP))) list.push({ ...record, offset: BigInt(list.length) });
    const last = list.length - 1;
    list.push(null);
    return { topic, partition, first: String(first), last: String(last), count: last - first + 1 };
  }

  #abort(of: Manifests, data: readonly PartitionRecords[]): void {
    for (const one of data) {
      const place = placeKey(one);
      const list = this.#topics.get(place) ?? [];
      this.#topics.set(place, list);
      const count = one.batches.reduce((sum, batch) => sum + batch.count, 0);
      for (let hole = 0; hole <= count; hole += 1) list.push(null);
    }
    const topic = topicOf(of);
    this.#ends.set(topic, (this.#ends.get(topic) ?? 0n) + 2n);
  }
}
