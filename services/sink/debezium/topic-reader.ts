import { NOTHING_UNREAD, type TopicState, type UnreadState } from '#adapters/postgres/target/debezium-state.ts';
import type { ShownState } from '#core/debezium-source/unshown.ts';
import type { ReadEvent, ReadKey, SourceEvent, StructDatum } from '#core/debezium-source/event.ts';
import { StreamMark } from '#core/debezium-source/stream-mark.ts';
import { RestageError } from '#core/errors.ts';
import type { KafkaRecord } from '#core/record.ts';
import type { TopicFeed } from './topic-feed.ts';

/** An event, and how many records are done with when it is. */
export interface PeekedEvent {
  readonly kind: 'event';
  readonly event: SourceEvent;
  readonly record: KafkaRecord;
  readonly records: number;
  readonly bytes: number;
}

/** A record that cannot be read, where that does not stop the sink. */
export interface PeekedFault {
  readonly kind: 'fault';
  readonly error: RestageError;
  readonly key: StructDatum | null;
  readonly record: KafkaRecord;
  readonly records: number;
  readonly bytes: number;
}

export type Peeked = PeekedEvent | PeekedFault;

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
  shown: ShownState | null;
  /** How many of the open transaction's events were taken. */
  taken = 0n;
  unread: UnreadState;
  #storedUnread: UnreadState;
  readonly #read: ReadEvent;
  readonly #readKey: ReadKey | null;
  /** Of the records that are read ahead, by their offset. */
  readonly #parsed = new Map<bigint, SourceEvent | Omit<PeekedFault, 'records' | 'bytes'> | null>();

  /** `readKey`: for records that cannot be read, which stop the sink where it is null. */
  constructor(
    feed: TopicFeed,
    state: TopicState,
    read: ReadEvent,
    readKey: ReadKey | null = null,
    unread: UnreadState = NOTHING_UNREAD,
  ) {
    this.feed = feed;
    this.topicId = state.topicId;
    this.mark = new StreamMark(state.mark);
    this.hasRows = state.hasRows;
    this.isInSnapshot = state.isInSnapshot;
    this.isTracked = state.isTracked;
    this.shown = state.shown;
    this.unread = unread;
    this.#storedUnread = unread;
    this.#read = read;
    this.#readKey = readKey;
  }

  get topic(): string {
    return this.feed.topic;
  }

  /** As it is to be stored with the rows that were taken so far. */
  get state(): TopicState {
    const { topicId, hasRows, isInSnapshot, isTracked, shown } = this;
    return {
      topicId,
      nextOffset: this.feed.nextOffset,
      mark: this.mark.state,
      hasRows,
      isInSnapshot,
      isTracked,
      shown,
    };
  }

  get hasMoved(): boolean {
    return this.feed.nextOffset !== this.feed.storedOffset;
  }

  /** What is to be stored of `unread`; null where it is as it was. */
  get changedUnread(): UnreadState | null {
    return this.unread === this.#storedUnread ? null : this.unread;
  }

  noteStored(): void {
    this.feed.noteStored();
    this.#storedUnread = this.unread;
  }

  /** The next event; null where none is read ahead. Records of no table before it go with it. */
  peek(): Peeked | null {
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
      if (next.kind === 'fault') return { kind: 'alone' };
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

  #next(from: number): Peeked | null {
    const { records } = this.feed;
    let bytes = 0;
    for (let at = from; at < records.length; at += 1) {
      const record = records[at];
      if (record === undefined) return null;
      bytes += record.value?.length ?? 0;
      const parsed = this.#parse(record);
      if (parsed === null) continue;
      if ('error' in parsed) return { ...parsed, records: at + 1, bytes };
      return { kind: 'event', event: parsed, record, records: at + 1, bytes };
    }
    return null;
  }

  #parse(record: KafkaRecord): SourceEvent | Omit<PeekedFault, 'records' | 'bytes'> | null {
    const known = this.#parsed.get(record.offset);
    if (known !== undefined) return known;
    const parsed = this.#attempt(record);
    this.#parsed.set(record.offset, parsed);
    return parsed;
  }

  #attempt(record: KafkaRecord): SourceEvent | Omit<PeekedFault, 'records' | 'bytes'> | null {
    try {
      return this.#read(record);
    } catch (error) {
      if (this.#readKey === null || !(error instanceof RestageError) || error.code !== 'record_invalid') throw error;
      return { kind: 'fault', error, key: this.#readKey(record), record };
    }
  }
}
