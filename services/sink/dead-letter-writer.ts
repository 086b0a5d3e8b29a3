import type { Image } from '#core/change.ts';
import { deadLetterId, positionKey, type DeadLetter } from '#core/dead-letter.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { describeError } from '#core/errors.ts';
import { heldTableSlots, type KeyLink } from '#core/key-slots.ts';
import type { StoredManifest } from '#core/manifest.ts';
import type { Position } from '#core/position.ts';
import { readStreamHeaders, type KafkaRecord } from '#core/record.ts';
import { topicOf, type Judged } from './careful-part.ts';
import type { LetterWriter } from './quarantine.ts';
import type { UnusableRecord } from './part-reader.ts';
import type { SlotBook } from './slot-book.ts';
import type { StructureBook } from './structure-book.ts';
import type { HeldLetters } from './target.ts';

export interface WriterOptions {
  readonly reader: EpochReader;
  readonly structures: StructureBook;
  readonly store: Pick<HeldLetters, 'add'>;
  readonly slots: SlotBook;
  readonly incarnation: string;
  /** `sink <target>`. */
  readonly service: string;
  readonly epochsTopic: string;
}

interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

/**
 * Writes what is left out of a part into the target, in the transaction of its position. The part's records are read once more for it:
 * what is applied keeps no bytes (invariant 6).
 */
export class DeadLetterWriter implements LetterWriter<StoredManifest> {
  readonly #options: WriterOptions;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  idOf(topic: string, place: Position | bigint): string {
    return deadLetterId(this.#options.incarnation, this.#options.service, topic, place);
  }

  /** Returns how many there are. */
  async write(
    { manifest, offset }: StoredManifest,
    judged: readonly Judged[],
    unusable: readonly UnusableRecord[],
    links: readonly KeyLink[],
  ): Promise<number> {
    const { structures, reader, slots } = this.#options;
    const byPlace = new Map(judged.map((one) => [`${topicOf(one.item)} ${positionKey(one.item.position)}`, one]));
    const lost = new Map(unusable.filter(({ position }) => position === null).map((one) => [placeKey(one), one]));
    if (byPlace.size + lost.size === 0) return 0;
    for (const one of judged) if (one.item.kind === 'truncate') await this.#writeTruncate(one, offset);
    const signal = new AbortController().signal;
    for (const range of structures.eventRanges(manifest)) {
      for await (const records of reader.read(range, signal)) {
        for (const record of records) {
          const place = { topic: range.topic, partition: range.partition, offset: record.offset };
          const missed = lost.get(placeKey(place));
          if (missed !== undefined) {
            const own = heldTableSlots(await slots.tableOf(missed.structure), missed.key, links);
            await this.#add(place, record, {
              item: { kind: 'unusable', position: NOWHERE, record: missed },
              verdict: faultOf(missed),
              slots: own,
            });
            continue;
          }
          const position = readStreamHeaders(record)?.position;
          const one = position === undefined ? undefined : byPlace.get(`${range.topic} ${positionKey(position)}`);
          // A tombstone belongs to its delete.
          if (one !== undefined && (record.value !== null || one.item.kind === 'unusable'))
            await this.#add(place, record, one);
        }
      }
    }
    return judged.length + lost.size;
  }

  async #add(place: Place, record: KafkaRecord, { item, verdict, slots }: Judged): Promise<void> {
    if (item.kind === 'truncate' || item.kind === 'alter') return;
    const headers = readStreamHeaders(record);
    const structure = item.kind === 'change' ? item.group.structure : item.record.structure;
    const letter: DeadLetter = {
      id: this.idOf(place.topic, headers?.position ?? place.offset),
      service: this.#options.service,
      ...place,
      position: headers?.position ?? null,
      xid: headers?.xid ?? null,
      table: { schema: structure.schema, table: structure.table },
      kind: item.kind === 'change' ? item.change.kind : 'unknown',
      rowKey: keyOf(item, structure.identity.columns),
      key: record.key,
      value: record.value,
      headers: record.headers,
      stage: item.kind === 'change' ? 'apply' : 'read',
      ...verdict,
    };
    await this.#options.store.add(letter, slots);
  }

  async #writeTruncate({ item, verdict, slots }: Judged, offset: bigint): Promise<void> {
    if (item.kind !== 'truncate') return;
    const [first] = item.tables;
    const topics = item.tables.map(({ structure }) => structure.topic);
    await this.#options.store.add(
      {
        id: this.idOf(topicOf(item), item.position),
        service: this.#options.service,
        topic: this.#options.epochsTopic,
        partition: 0,
        offset,
        position: item.position,
        xid: null,
        table: { schema: first?.structure.schema ?? '', table: first?.structure.table ?? '' },
        kind: 'truncate',
        rowKey: null,
        key: null,
        value: Buffer.from(JSON.stringify({ truncate: topics, isPartial: item.isPartial, only: item.only })),
        headers: new Map(),
        stage: 'apply',
        ...verdict,
      },
      slots,
    );
  }
}

const NOWHERE: Position = { commit: 0n as Position['commit'], ordinal: 0 };

function faultOf({ error }: UnusableRecord): Judged['verdict'] {
  return { code: error.code, error: describeError(error), behind: null };
}

function placeKey({ topic, partition, offset }: Place): string {
  return `${topic}/${partition}/${offset}`;
}

function keyOf(
  item: Extract<Judged['item'], { kind: 'change' | 'unusable' }>,
  identity: readonly string[],
): Record<string, string | null> | null {
  if (identity.length === 0) return null;
  const image = imageOf(item);
  return image === null ? null : Object.fromEntries(identity.map((name) => [name, image.get(name) ?? null]));
}

/** The row as the target is to know it. */
function imageOf(item: Extract<Judged['item'], { kind: 'change' | 'unusable' }>): Image | null {
  if (item.kind === 'unusable') return item.record.key;
  return item.change.kind === 'insert' ? item.change.after : item.change.key;
}
