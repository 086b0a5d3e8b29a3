import { pause } from '#core/backoff.ts';
import { badRecord } from '#core/debezium-source/bad-record.ts';
import { collectionTopic, prefixOf, readBoundary, type TransactionEnd } from '#core/debezium-source/boundary.ts';
import type { ReadDatum, SourceEvent } from '#core/debezium-source/event.ts';
import { NO_MARK, wentBack, type MarkState } from '#core/debezium-source/stream-mark.ts';
import type { RestageError } from '#core/errors.ts';
import { lsnOf, maxLsn, type Lsn } from '#core/lsn.ts';
import type { ServiceStatus } from '#core/status.ts';
import { tableTopic } from '#core/topic-names.ts';
import { isSnapshotRow, type EventIntake } from './event-intake.ts';
import type { TargetBatch } from './target-batch.ts';
import type { TopicFeed } from './topic-feed.ts';
import type { PeekedEvent, PeekedFault, TopicReader } from './topic-reader.ts';

export interface TransactionMergeOptions {
  readonly feed: TopicFeed;
  readonly read: ReadDatum;
  readonly mark: MarkState;
  readonly intake: EventIntake;
  /** The reader of the first of these topics that is there; null where the configuration chooses none. Waits for one that is chosen and not there yet. */
  readonly readerOf: (topics: readonly string[]) => Promise<TopicReader | null>;
  readonly status: ServiceStatus;
  readonly signal: AbortSignal;
  /** After each taken event: what is collected may be much. */
  readonly onTaken: () => Promise<void>;
}

interface Collection {
  readonly name: string;
  readonly reader: TopicReader;
  readonly count: bigint;
}

const POLL_MS = 5;
/** Logical messages are counted under the name of a class of Debezium's. */
const MESSAGES = /^io\.debezium\..*LogicalDecodingMessage/;
const WAIT_SHOWN_MS = 2_000;
/** Transactions that knew no commit before them: the first of a connector's lives. */
const MOST_FIRSTS = 16;

/** Whole transactions, in the order of their commits, from the topics of their tables (Debezium: "Transaction metadata"). */
export class TransactionMerge {
  readonly #options: TransactionMergeOptions;
  readonly #prefix: string;
  /** Of the last END that was applied. */
  #lsn: bigint;
  #micros: bigint;
  readonly #firsts: string[];
  #open: Lsn | null = null;
  /** What the next transaction waits for, and since when. Milliseconds since 1970. */
  #waits: { readonly xid: string; readonly topic: string; readonly since: number } | null = null;

  constructor(options: TransactionMergeOptions) {
    this.#options = options;
    this.#prefix = prefixOf(options.feed.topic);
    this.#lsn = options.mark.place?.lsn ?? 0n;
    this.#micros = options.mark.micros;
    this.#firsts = [...options.mark.keys];
  }

  get mark(): MarkState {
    if (this.#lsn === 0n) return { ...NO_MARK, keys: this.#firsts };
    return { place: { lastCommit: null, lsn: this.#lsn }, keys: this.#firsts, micros: this.#micros };
  }

  /** The commit of a transaction of which a part is taken. */
  get open(): Lsn | null {
    return this.#open;
  }

  /** Rows of snapshots, repeats and records that cannot be read at the head of a topic: they wait for no transaction. */
  async takeLoose(reader: TopicReader, batch: TargetBatch): Promise<void> {
    for (let peeked = reader.peek(); peeked !== null; peeked = reader.peek()) {
      if (peeked.kind === 'fault') await this.#leaveOut(reader, peeked, batch);
      else if (!(await this.#takeLoose(reader, peeked, batch))) return;
      await this.#options.onTaken();
    }
  }

  /** False where the event belongs to a transaction that is still to come. */
  async #takeLoose(reader: TopicReader, peeked: PeekedEvent, batch: TargetBatch): Promise<boolean> {
    const { event } = peeked;
    this.#requireOwnTopic(reader, event);
    if (isSnapshotRow(event)) await this.#options.intake.take(reader, peeked, batch);
    else if (!this.#isOld(event)) return false;
    else if (isLate(reader, event)) return this.#takeLate(reader, peeked, batch);
    else reader.take(peeked.records);
    return true;
  }

  /** It was taken for a record that nobody could read, and comes after all: it waits behind that one's dead letter while there is one. */
  async #takeLate(reader: TopicReader, peeked: PeekedEvent, batch: TargetBatch): Promise<boolean> {
    const { xid = '', collectionOrder = 0n } = peeked.event.transaction ?? {};
    const taken = await this.#options.intake.take(reader, peeked, batch);
    if (taken > 0) reader.unread = { ...reader.unread, assumed: { xid, after: collectionOrder - 1n + BigInt(taken) } };
    return taken > 0;
  }

  async #leaveOut(reader: TopicReader, fault: PeekedFault, batch: TargetBatch): Promise<void> {
    await this.#options.intake.leaveOut(reader, fault, batch);
    reader.unread = { ...reader.unread, count: reader.unread.count + 1n };
  }

  /** For people, when the next transaction waits for long; else ''. */
  get waitsFor(): string {
    if (this.#waits === null || Date.now() - this.#waits.since < WAIT_SHOWN_MS) return '';
    return `waits for the events of transaction ${this.#waits.xid} on topic ${this.#waits.topic}`;
  }

  /** Takes the next transaction whole; false where no END is there, or none of its events: then what came before can be stored. */
  async takeTransaction(batch: TargetBatch): Promise<boolean> {
    const { feed, intake } = this.#options;
    const end = this.#nextEnd();
    if (end === null) return false;
    if (end.lsn > this.#lsn) {
      if (!(await this.#takeEvents(end, batch))) return false;
      this.#waits = null;
      this.#lsn = end.lsn;
      intake.through = maxLsn(intake.through, lsnOf(end.lsn));
    } else if (end.micros > this.#micros) throw wentBack(end);
    if (end.micros > this.#micros) this.#micros = end.micros;
    feed.take(1);
    return true;
  }

  #nextEnd(): TransactionEnd | null {
    const { feed, read } = this.#options;
    for (let [record] = feed.records; record !== undefined; [record] = feed.records) {
      const end = readBoundary(feed.topic, record, read);
      if (end !== null) return end;
      feed.take(1);
    }
    return null;
  }

  async #takeEvents(end: TransactionEnd, batch: TargetBatch): Promise<boolean> {
    const { onTaken } = this.#options;
    let open = await this.#collections(end);
    for (const { reader } of open) reader.taken = 0n;
    for (const collection of open) if ((await this.#nextOf(collection, end, batch)) === null) return false;
    open = open.filter(isOpen);
    while (open.length > 0) {
      let first: { readonly reader: TopicReader; readonly peeked: PeekedEvent; readonly order: bigint } | null = null;
      for (const collection of open) {
        const peeked = await this.#waitFor(collection, end, batch);
        if (peeked === 'unread') continue;
        const order = peeked.event.transaction?.order ?? 0n;
        if (first === null || order < first.order) first = { reader: collection.reader, peeked, order };
      }
      this.#open = lsnOf(end.lsn);
      if (first !== null) await this.#take(first.reader, first.peeked, end, batch);
      open = open.filter(isOpen);
      if (open.length === 0) this.#open = null;
      await onTaken();
    }
    this.#open = null;
    return true;
  }

  async #take(reader: TopicReader, peeked: PeekedEvent, end: TransactionEnd, batch: TargetBatch): Promise<void> {
    const { event } = peeked;
    if (event.place?.lastCommit === null && !this.#firsts.includes(end.xid)) {
      this.#firsts.push(end.xid);
      if (this.#firsts.length > MOST_FIRSTS) this.#firsts.shift();
    }
    const commit = lsnOf(end.lsn);
    let taken = await this.#options.intake.take(reader, peeked, batch, commit);
    for (; taken === 0; taken = await this.#options.intake.take(reader, peeked, batch, commit))
      await this.#wait(reader, end);
    reader.taken += BigInt(taken);
    if (reader.unread.count > 0n) reader.unread = { ...reader.unread, count: 0n };
  }

  async #collections(end: TransactionEnd): Promise<Collection[]> {
    const collections: Collection[] = [];
    for (const [name, count] of end.counts) {
      if (MESSAGES.test(name)) continue;
      const reader = await this.#options.readerOf(topicsOf(this.#prefix, name));
      if (reader !== null && count > 0n) collections.push({ name, reader, count });
    }
    return collections;
  }

  async #waitFor(collection: Collection, end: TransactionEnd, batch: TargetBatch): Promise<PeekedEvent | 'unread'> {
    for (;;) {
      const peeked = await this.#nextOf(collection, end, batch);
      if (peeked !== null) return peeked;
      await this.#wait(collection.reader, end);
    }
  }

  /**
   * The collection's next event of this transaction; null while it is not there; `unread` where records that could not be read may be all
   * the rest. What a topic has before it goes first.
   */
  async #nextOf(
    collection: Collection,
    end: TransactionEnd,
    batch: TargetBatch,
  ): Promise<PeekedEvent | 'unread' | null> {
    const { reader, name, count } = collection;
    for (;;) {
      const peeked = reader.peek();
      if (peeked === null) {
        if (mayBeUnread(collection)) {
          if (await reader.feed.fill()) continue;
          return assumeUnread(collection, end);
        }
        this.#noteWait(reader, end);
        return null;
      }
      if (peeked.kind === 'fault') await this.#leaveOut(reader, peeked, batch);
      else if (isOf(peeked.event, end) && !isSnapshotRow(peeked.event)) {
        this.#requireOwnTopic(reader, peeked.event);
        const ahead = (peeked.event.transaction?.collectionOrder ?? 0n) - reader.taken - 1n;
        if (ahead > reader.unread.count) throw incomplete(peeked.event, end, name);
        reader.taken += ahead > 0n ? ahead : 0n;
        if (ahead >= 0n && reader.taken < count) return peeked;
        reader.take(peeked.records);
      } else if (!(await this.#takeLoose(reader, peeked, batch))) {
        if (mayBeUnread(collection)) return assumeUnread(collection, end);
        throw incomplete(peeked.event, end, name);
      }
      await this.#options.onTaken();
    }
  }

  /** In the middle of a transaction. */
  async #wait(reader: TopicReader, end: TransactionEnd): Promise<void> {
    const { status, signal } = this.#options;
    this.#noteWait(reader, end);
    if (!(await reader.feed.fill())) await pause(POLL_MS, signal);
    signal.throwIfAborted();
    status.detail = this.waitsFor;
  }

  #noteWait({ topic }: TopicReader, { xid }: TransactionEnd): void {
    if (this.#waits?.xid === xid && this.#waits.topic === topic) return;
    this.#waits = { xid, topic, since: Date.now() };
  }

  /** Whether an event is of a transaction that is applied: told again by a connector that was restarted. */
  #isOld(event: SourceEvent): boolean {
    const { transaction, place } = event;
    if (transaction === null || place === null)
      throw badRecord(
        event,
        'it has no transaction block',
        'set provide.transaction.metadata at the connector before its first event, or leave out source.debezium.transaction.topic',
      );
    if (place.lastCommit !== null) return place.lastCommit < this.#lsn;
    return place.lsn <= this.#lsn && this.#firsts.includes(transaction.xid);
  }

  /** Counts go by tables' names, so a topic must be what Debezium calls it. */
  #requireOwnTopic(reader: TopicReader, event: SourceEvent): void {
    const { schema, table } = event.table;
    if (collectionTopic(this.#prefix, `${schema}.${table}`) === reader.topic) return;
    if (tableTopic(this.#prefix, event.table) === reader.topic) return;
    throw badRecord(
      event,
      "its topic is not the one that Debezium names after its table, so its transaction's events cannot be counted",
      'leave out the transforms that route events, or source.debezium.transaction.topic',
    );
  }
}

function isOpen({ reader, count }: Collection): boolean {
  return reader.taken < count;
}

/** Whether records that could not be read are so many as events are missing. */
function mayBeUnread({ reader, count }: Collection): boolean {
  return reader.unread.count > 0n && reader.taken + reader.unread.count >= count;
}

/** The transaction goes on without them; should one come after all, it is known by this. */
function assumeUnread({ reader, count }: Collection, { xid }: TransactionEnd): 'unread' {
  reader.unread = { count: 0n, assumed: { xid, after: reader.taken } };
  reader.taken = count;
  return 'unread';
}

function isLate({ unread }: TopicReader, { transaction }: SourceEvent): boolean {
  const { assumed } = unread;
  return assumed !== null && assumed.xid === transaction?.xid && transaction.collectionOrder > assumed.after;
}

/** Debezium's name of a table's topic, and Restage's own. */
function topicsOf(prefix: string, collection: string): string[] {
  const [schema = '', table = '', ...more] = collection.split('.');
  const own = more.length === 0 ? [tableTopic(prefix, { schema, table })] : [];
  return [...new Set([collectionTopic(prefix, collection), ...own])];
}

/** The same number may come again after 2^32 transactions: not before this one's own commit, though. */
function isOf({ transaction, place }: SourceEvent, end: TransactionEnd): boolean {
  return transaction?.xid === end.xid && (place?.lastCommit ?? 0n) < end.lsn && (place?.lsn ?? 0n) <= end.lsn;
}

function incomplete(event: SourceEvent, end: TransactionEnd, collection: string): RestageError {
  return badRecord(
    event,
    `before it, events of ${collection} are missing that transaction ${end.xid} is said to have`,
    "leave out the connector's transforms that filter events; compaction and retention must not have taken any either",
  );
}
