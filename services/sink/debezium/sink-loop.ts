import type { TopicState } from '#adapters/postgres/target/debezium-state.ts';
import { pause } from '#core/backoff.ts';
import type { PauseGate } from '#core/control.ts';
import { badRecord } from '#core/debezium-source/bad-record.ts';
import type { Logger } from '#core/log.ts';
import { findUnshown } from '#core/debezium-source/unshown.ts';
import { formatLsn } from '#core/lsn.ts';
import type { ServiceStatus } from '#core/status.ts';
import { eventId, isSnapshotRow, type EventIntake } from './event-intake.ts';
import { TargetBatch } from './target-batch.ts';
import type { BatchQuarantine } from './batch-quarantine.ts';
import type { MovedTopic, TargetWriter } from './target-writer.ts';
import type { TopicFeed } from './topic-feed.ts';
import type { TopicReader } from './topic-reader.ts';
import type { TopicSet } from './topic-set.ts';
import type { TransactionMerge } from './transaction-merge.ts';

export interface SinkLoopOptions {
  readonly set: TopicSet;
  readonly intake: EventIntake;
  readonly writer: TargetWriter;
  readonly quarantine: Pick<BatchQuarantine, 'committed'>;
  readonly status: ServiceStatus;
  readonly logger: Logger;
  readonly gate: PauseGate;
  /** As it was stored. */
  readonly isLoadDone: boolean;
  readonly countMissing: () => Promise<number>;
  /** Those of these topics whose tables have rows at the target, by their names there. */
  readonly namesWithRows: (topics: readonly string[]) => Promise<string[]>;
}

/** Where transactions are told. */
export interface FollowedTransactions {
  readonly merge: TransactionMerge;
  readonly feed: TopicFeed;
  /** Kafka's id of the topic; '' while it is not there: Debezium makes it with the first transaction. */
  readonly topicId: () => Promise<string>;
}

const BATCH_BYTES = 4 * 1024 * 1024;
/** Of the transaction topic, read ahead (invariant 6). */
const MOST_BOUNDARY_BYTES = 1024 * 1024;
const IDLE_MS = 20;
const IDLE_MOST_MS = 500;
const MISSING_EVERY_MS = 2_000;
const UNSHOWN_EVERY_MS = 2_000;
export const UNSHOWN =
  'the newest snapshot showed no row of tables that have rows here; where the source has none, delete them here';

/** Fetch, take, write, commit; again and again. */
export class SinkLoop {
  readonly #options: SinkLoopOptions;
  #followed: FollowedTransactions | null = null;
  readonly #batch = new TargetBatch();
  /** Bytes that the open transaction of the target has been given. */
  #written = 0;
  #hasWritten = false;
  #isLoadDone: boolean;
  #missingAt = 0;
  #unshown = '';
  #unshownAt = 0;
  /** Of the topic of transactions. */
  #topicId = '';
  /** As they were at the last commit. */
  #counted: ServiceStatus['events'];

  constructor(options: SinkLoopOptions) {
    this.#options = options;
    this.#isLoadDone = options.isLoadDone;
    this.#counted = { ...options.status.events };
  }

  follow(transactions: FollowedTransactions): void {
    this.#followed = transactions;
  }

  /** The target's transaction is rolled back: its events will be counted again. */
  forgetUncommitted(): void {
    Object.assign(this.#options.status.events, this.#counted);
  }

  async run(refreshMs: number, signal: AbortSignal): Promise<void> {
    const { set, status, gate } = this.#options;
    status.state = 'loading';
    status.detail = '';
    for (let refreshedAt = Date.now(); !signal.aborted;) {
      if (gate.isPaused) await this.#rest(signal);
      if (Date.now() - refreshedAt > refreshMs) {
        await set.refresh();
        refreshedAt = Date.now();
      }
      const isNew = (await Promise.all([set.fill(), this.#fillBoundaries()])).includes(true);
      await this.#takeAll();
      const hasWorked = await this.#commit();
      // Dead letters may be retried or dropped meanwhile.
      if (!hasWorked) await this.#options.quarantine.committed();
      await this.#noteStatus();
      // A fetch for each topic: the more there are, the less often.
      if (!isNew && !hasWorked) await pause(Math.min(IDLE_MOST_MS, IDLE_MS + 2 * set.readers.size), signal);
    }
  }

  /** Writes what is collected, without its end, once it is much: memory stays bounded in a transaction of any size (invariant 6). */
  async spill(): Promise<void> {
    if (this.#batch.bytes >= BATCH_BYTES) await this.#write();
  }

  async #write(): Promise<void> {
    this.#written += this.#batch.bytes;
    this.#hasWritten = true;
    await this.#options.writer.write(this.#batch, this.#followed?.merge.open ?? null);
    this.#batch.clear();
  }

  async #fillBoundaries(): Promise<boolean> {
    if (this.#followed === null || this.#followed.feed.bytes >= MOST_BOUNDARY_BYTES) return false;
    if (this.#topicId === '') this.#topicId = await this.#followed.topicId();
    return this.#topicId !== '' && (await this.#followed.feed.fill());
  }

  async #takeAll(): Promise<void> {
    const { set } = this.#options;
    const merge = this.#followed?.merge ?? null;
    for (const reader of set.turn()) {
      if (this.#isFull()) return;
      if (merge === null) await this.#takeSingly(reader);
      else await merge.takeLoose(reader, this.#batch);
    }
    if (merge === null) return;
    for (let isOne = true; isOne && !this.#isFull();) isOne = await merge.takeTransaction(this.#batch);
  }

  #isFull(): boolean {
    return this.#written + this.#batch.bytes >= BATCH_BYTES;
  }

  /** Without transactions: a table's events as they come, without those that are told again. */
  async #takeSingly(reader: TopicReader): Promise<void> {
    const { intake } = this.#options;
    for (let peeked = reader.peek(); peeked !== null && !this.#isFull(); peeked = reader.peek()) {
      if (peeked.kind === 'fault') {
        await intake.leaveOut(reader, peeked, this.#batch);
        continue;
      }
      const { event } = peeked;
      if (!isSnapshotRow(event)) {
        if (event.place === null) throw badRecord(event, 'its source block has no LSN');
        const before = reader.mark.state;
        const isCopy = reader.mark.isRepeat(event, event.place, eventId(event));
        if (isCopy) {
          reader.take(peeked.records);
          continue;
        }
        if ((await intake.take(reader, peeked, this.#batch)) > 0) continue;
        // The delete is not taken before what follows it is there.
        reader.mark.restore(before);
        return;
      }
      await intake.take(reader, peeked, this.#batch);
    }
  }

  /** False where there was nothing to store. */
  async #commit(): Promise<boolean> {
    const { set, intake, writer, status } = this.#options;
    const moved: MovedTopic[] = [...set.readers.values()]
      .filter((reader) => reader.hasMoved || reader.changedUnread !== null)
      .map((reader) => ({ topic: reader.topic, state: reader.state, unread: reader.changedUnread }));
    const boundaries = this.#followed;
    if (boundaries !== null && boundaries.feed.nextOffset !== boundaries.feed.storedOffset)
      moved.push({ topic: boundaries.feed.topic, state: boundaryState(boundaries, this.#topicId), unread: null });
    const isLoadDone = this.#isCaughtUp();
    if (moved.length === 0 && this.#batch.isEmpty && !this.#hasWritten && isLoadDone === this.#isLoadDone) return false;
    const startedAt = Date.now();
    await this.#write();
    status.epochs += 1;
    await writer.commit(moved, { epoch: status.epochs, through: intake.through, isLoadDone });
    for (const reader of set.readers.values()) reader.noteStored();
    this.#counted = { ...status.events };
    boundaries?.feed.noteStored();
    status.lastEpochBytes = this.#written;
    status.lastEpochSeconds = (Date.now() - startedAt) / 1_000;
    status.through = formatLsn(intake.through);
    this.#isLoadDone = isLoadDone;
    this.#written = 0;
    this.#hasWritten = false;
    return true;
  }

  /** Once at the end of everything, the load stays done until a snapshot begins or a row waits for values. */
  #isCaughtUp(): boolean {
    const { set, writer } = this.#options;
    const readers = [...set.readers.values()];
    if (readers.some(({ isInSnapshot }) => isInSnapshot) || writer.hasMissing) return false;
    return this.#isLoadDone || readers.every(({ feed }) => feed.lag === 0n);
  }

  async #noteStatus(): Promise<void> {
    const { set, status, writer, countMissing } = this.#options;
    let lag = this.#followed?.feed.lag ?? 0n;
    for (const { feed } of set.readers.values()) lag += feed.lag;
    status.lagEvents = Number(lag);
    if (lag === 0n) status.lagSeconds = 0;
    const { load } = status;
    const readers = [...set.readers.values()];
    load.tables = readers.length;
    load.tablesDone = readers.filter(({ isInSnapshot }) => !isInSnapshot).length;
    load.isDone = this.#isLoadDone;
    status.state = this.#isLoadDone ? 'streaming' : 'loading';
    if (this.#followed !== null)
      status.detail =
        this.#topicId === ''
          ? `waits for topic ${this.#followed.feed.topic}, which Debezium makes with its first transaction`
          : this.#followed.merge.waitsFor;
    await this.#noteUnshown();
    if (!writer.hasMissing || Date.now() - this.#missingAt < MISSING_EVERY_MS) return;
    this.#missingAt = Date.now();
    const missing = await countMissing();
    writer.hasMissing = missing > 0;
    status.detail =
      missing === 0
        ? ''
        : `${missing} rows wait for a snapshot: an update left out values that the target does not have`;
  }

  /** What a snapshot that was taken again showed no row of: whether the source's tables are empty is not in the topics. */
  async #noteUnshown(): Promise<void> {
    const { set, status, logger, namesWithRows } = this.#options;
    const readers = [...set.readers.values()];
    const isOver = this.#isLoadDone && !readers.some(({ isInSnapshot }) => isInSnapshot);
    if (isOver && Date.now() - this.#unshownAt >= UNSHOWN_EVERY_MS) {
      this.#unshownAt = Date.now();
      const topics = [...findUnshown(readers.map(({ topic, shown }) => [topic, shown])).keys()];
      const names = topics.length === 0 ? [] : await namesWithRows(topics);
      const unshown = names.length === 0 ? '' : `${UNSHOWN}: ${names.join(', ')}`;
      if (unshown !== '' && unshown !== this.#unshown) logger.warn(unshown);
      if (status.detail === this.#unshown) status.detail = '';
      this.#unshown = unshown;
    }
    if (this.#unshown !== '' && isOver && status.detail === '') status.detail = this.#unshown;
  }

  async #rest(signal: AbortSignal): Promise<void> {
    const { gate, status } = this.#options;
    const before = status.state;
    status.state = 'paused';
    await gate.whenRunning(signal);
    status.state = before;
  }
}

function boundaryState({ merge, feed }: Pick<FollowedTransactions, 'merge' | 'feed'>, topicId: string): TopicState {
  return {
    topicId,
    nextOffset: feed.nextOffset,
    mark: merge.mark,
    hasRows: false,
    isInSnapshot: false,
    isTracked: false,
    shown: null,
  };
}
