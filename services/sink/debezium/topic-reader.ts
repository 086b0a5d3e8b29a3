import type { TopicState } from '#adapters/postgres/target/debezium-state.ts';
import type { ReadEvent, SourceEvent } from '#core/debezium-source/event.ts';
import { StreamMark } from '#core/debezium-source/stream-mark.ts';
import type { TopicFeed } from './topic-feed.ts';

/** An event, and how many records are done with when it is. */
export interface PeekedEvent {
  readonly event: SourceEvent;
  readonly records: number;
  readonly bytes: number;
}

/** What the first half of a key's change is followed by; null while that is not there yet. */
export type Followed = { readonly kind: 'pair'; readonly create: PeekedEvent } | { readonly kind: 'alone' } | null;

/** One table's topic: its events in order, and what the target knows of them. */
export class TopicReader {
  readonly feed: TopicFeed;
  readonly mark: StreamMark;
  readonly topicId: string;
  hasRows: boolean;
  isInSnapshot: boolean;
  isTracked: boolean;
  /** How many of the open transaction's events were taken. */
  taken = 0n;
  readonly #read: ReadEvent;
  /** Of the records that are read ahead, by their offset. */
  readonly #parsed = new Map<bigint, SourceEvent | null>();

  constructor(feed: TopicFeed, state: TopicState, read: ReadEvent) {
    this.feed = feed;
    this.topicId = state.topicId;
    this.mark = new StreamMark(state.mark);
    this.hasRows = state.hasRows;
    this.isInSnapshot = state.isInSnapshot;
    this.isTracked = state.isTracked;
    this.#read = read;
  }

  get topic(): string {
    return this.feed.topic;
  }

  /** As it is to be stored with the rows that were taken so far. */
  get state(): TopicState {
    const { topicId, hasRows, isInSnapshot, isTracked } = this;
    return { topicId, nextOffset: this.feed.nextOffset, mark: this.mark.state, hasRows, isInSnapshot, isTracked };
  }

  get hasMoved(): boolean {
    return this.feed.nextOffset !== this.feed.storedOffset;
  }

  /** The next event; null where none is read ahead. Records of no table before it go with it. */
  peek(): PeekedEvent | null {
    const found = this.#next(0);
    if (found === null && this.feed.records.length > 0) this.take(this.feed.records.length);
    return found;
  }

  /** The create that follows a delete whose row moves to another key; repeats of the delete in between go with it. */
  follow(first: PeekedEvent): Followed {
    let at = first.records;
    for (;;) {
      const next = this.#next(at);
      if (next === null) return null;
      const { event } = next;
      const isSame = event.isMoved && event.place?.lsn === first.event.place?.lsn;
      if (isSame && event.op === 'c') return { kind: 'pair', create: next };
      if (!isSame || event.op !== 'd') return { kind: 'alone' };
      at = next.records;
    }
  }

  take(records: number): void {
    for (const { offset } of this.feed.records.slice(0, records)) this.#parsed.delete(offset);
    this.feed.take(records);
  }

  #next(from: number): PeekedEvent | null {
    const { records } = this.feed;
    let bytes = 0;
    for (let at = from; at < records.length; at += 1) {
      const record = records[at];
      if (record === undefined) return null;
      bytes += record.value?.length ?? 0;
      const event = this.#parse(record);
      if (event !== null) return { event, records: at + 1, bytes };
    }
    return null;
  }

  #parse(record: Parameters<ReadEvent>[0]): SourceEvent | null {
    const known = this.#parsed.get(record.offset);
    if (known !== undefined) return known;
    const event = this.#read(record);
    this.#parsed.set(record.offset, event);
    return event;
  }
}
