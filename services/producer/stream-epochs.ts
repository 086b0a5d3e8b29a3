import { ByteWriters } from '#core/byte-writers.ts';
import type { EpochConfig } from '#core/config.ts';
import type { PartitionRecords } from '#core/epoch-writer.ts';
import { maxLsn, type Lsn } from '#core/lsn.ts';
import type { ControlEntry } from '#core/manifest.ts';
import { joinHeaders } from '#core/debezium/record-headers.ts';
import type { Partitioner } from '#core/partitioner.ts';
import { plainValue, type RowValue } from '#core/record-pieces.ts';
import { comparePositions, type Position } from '#core/position.ts';
import { StreamHeaderWriter } from '#core/record.ts';
import { TopicBatches } from '#core/topic-batches.ts';

/** One Kafka transaction's worth of the stream: a whole epoch, or a part of one. */
export interface StreamPart {
  readonly epoch: number;
  readonly part: number;
  readonly last: boolean;
  readonly firstCommit: Lsn;
  readonly lastCommit: Lsn;
  readonly lastOrdinal: number;
  readonly through: Lsn;
  readonly commitTime: bigint;
  readonly control: readonly ControlEntry[];
  readonly data: readonly PartitionRecords[];
  readonly events: number;
  readonly bytes: number;
  /** Something in it is of more than one partition of a table. */
  readonly isJoint: boolean;
}

/** Where the stream stands in Kafka: what the last manifest says. */
export interface StreamResume {
  readonly epoch: number;
  readonly part: number;
  readonly last: boolean;
  readonly through: Lsn;
  /** The last event in Kafka, when the last manifest is a part that is not the last. */
  readonly written: Position | null;
}

const NO_STRUCTURE = 0;

/**
 * Gathers whole transactions into epochs, as a pure state machine: begin, append …, commit, take.
 * An epoch may be taken at a commit; a transaction that grows past a part's size is taken in parts (`last` false).
 */
export class StreamEpochs {
  readonly #headers = new StreamHeaderWriter();
  readonly #partitionOf: Partitioner;
  readonly #writers = new ByteWriters();
  #batches = new TopicBatches(this.#writers);
  #control: ControlEntry[] = [];
  #epoch: number;
  #part: number;
  #reached: Lsn;
  readonly #written: Position | null;
  /** Commit of the transaction that an earlier life wrote a part of, until its end comes again. */
  #owed: Lsn | null;
  #commit: Lsn | null = null;
  /** Commit of the last transaction that was cut into parts. */
  #torn: Lsn | null = null;
  #firstCommit: Lsn | null = null;
  #position: Position | null = null;
  #commitTime = 0n;
  #openedAt = 0;
  #events = 0;
  #isJoint = false;

  constructor(resume: StreamResume, partitionOf: Partitioner = () => 0) {
    this.#partitionOf = partitionOf;
    this.#epoch = resume.last ? resume.epoch + 1 : resume.epoch;
    this.#part = resume.last ? 1 : resume.part + 1;
    this.#reached = resume.through;
    this.#written = resume.written;
    // A part may also end between two transactions, where the next one's BEGIN finds it full: then nothing is owed.
    this.#owed = resume.written !== null && resume.written.commit >= resume.through ? resume.written.commit : null;
  }

  get bytes(): number {
    return this.#batches.bytes;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Between transactions, none of which is still to be completed. */
  get isAtBoundary(): boolean {
    return this.#commit === null && this.#owed === null;
  }

  /** Nothing can stand before the open transaction any more: parts of it are taken, or an earlier life's epoch is not at its end yet. */
  get hasOpenParts(): boolean {
    return this.#owed !== null || (this.#commit !== null && this.#commit === this.#torn);
  }

  /**
   * To be taken now. An epoch of which a part was taken ends with that transaction: nothing else may be written between its parts, so a load
   * would wait for as long as each part ends in the middle of the next transaction, and no target would get on.
   */
  isFull({ bytes, partBytes }: Pick<EpochConfig, 'bytes' | 'partBytes'>): boolean {
    return this.isAtBoundary ? this.#part > 1 || this.bytes >= bytes : this.bytes >= partBytes;
  }

  /** Something to write: events, control entries, or the end of an epoch whose parts are written. */
  get hasContent(): boolean {
    return this.#batches.count > 0 || this.#control.length > 0 || (this.#part > 1 && this.isAtBoundary);
  }

  get hasBarrier(): boolean {
    return this.#control.some((entry) => entry.kind === 'barrier');
  }

  /** Milliseconds (the caller's clock) when the oldest event came in. */
  get openedAt(): number {
    return this.#openedAt;
  }

  /** The LSN up to which nothing is missing, when there is no content. */
  get reached(): Lsn {
    return this.#reached;
  }

  begin(commit: Lsn, commitTime: bigint): void {
    this.#commit = commit;
    this.#firstCommit ??= commit;
    this.#commitTime = commitTime;
  }

  /** False for an event that an earlier life of the producer has written already (parts of one transaction). */
  isNew(position: Position): boolean {
    return this.#written === null || comparePositions(position, this.#written) > 0;
  }

  /** A row of a table, by its key. `more`: further headers, of profile `debezium`, whose readers know no pieces. */
  append(
    topic: string,
    key: string | Buffer | null,
    value: RowValue,
    position: Position,
    xid: bigint,
    structure: number,
    now: number,
    more: readonly (readonly [name: string, value: Buffer])[] | null = null,
  ): void {
    const headers = this.#head(value, position, xid, structure, now);
    const partition = this.#partitionOf(key);
    if (more === null) this.#batches.appendRow(topic, key, value, headers, partition);
    else this.#batches.append(topic, key, plainValue(value), joinHeaders(headers, more), partition);
  }

  /** What stands between rows, on a topic of one partition. */
  appendBoundary(
    topic: string,
    key: string | Buffer | null,
    value: RowValue,
    position: Position,
    xid: bigint,
    now: number,
    more: readonly (readonly [name: string, value: Buffer])[],
  ): void {
    const headers = this.#head(value, position, xid, NO_STRUCTURE, now);
    this.#batches.append(topic, key, plainValue(value), joinHeaders(headers, more));
  }

  /** Counts the event; its headers, which the next one's take the place of. */
  #head(value: RowValue, position: Position, xid: bigint, structure: number, now: number): Buffer {
    this.#note(position, now);
    this.#events += value === null ? 0 : 1;
    return this.#headers.write(position.commit, position.ordinal, xid, this.#epoch, structure);
  }

  /** A row's key changes: its events before and after may be of two partitions. */
  noteKeyChange(): void {
    this.#isJoint = true;
  }

  /** A structure, in the transaction that first uses it. */
  appendStructure(topic: string, key: string, value: string, headers: Buffer): void {
    this.#batches.append(topic, key, value, headers);
  }

  appendControl(entry: ControlEntry, position: Position, now: number): void {
    this.#note(position, now);
    this.#control.push(entry);
    this.#isJoint ||= entry.kind !== 'barrier';
  }

  /** `end`: the LSN after the commit record. */
  commit(end: Lsn): void {
    if (this.#commit === this.#owed) this.#owed = null;
    this.#commit = null;
    this.#reached = maxLsn(this.#reached, end);
    if (!this.hasContent) this.#firstCommit = null;
  }

  /** A keep-alive: nothing before `walEnd` is still to come. Between transactions only. */
  reach(walEnd: Lsn): void {
    if (this.isAtBoundary) this.#reached = maxLsn(this.#reached, walEnd);
  }

  /** At a boundary: the epoch, ended. Else: a part of it. Call only with content. */
  take(): StreamPart {
    const last = this.isAtBoundary;
    const position = this.#position ?? this.#written ?? { commit: this.#reached, ordinal: 0 };
    const part: StreamPart = {
      epoch: this.#epoch,
      part: this.#part,
      last,
      firstCommit: this.#firstCommit ?? position.commit,
      lastCommit: position.commit,
      lastOrdinal: position.ordinal,
      // Also of a part that is not the last: an empty manifest may have said as much before, and no manifest takes it back.
      through: this.#reached,
      commitTime: this.#commitTime,
      control: this.#control,
      data: this.#batches.finish(),
      events: this.#events,
      bytes: this.#batches.bytes,
      isJoint: this.#isJoint,
    };
    if (!last) this.#torn = this.#commit;
    this.#epoch += last ? 1 : 0;
    this.#part = last ? 1 : this.#part + 1;
    this.#batches = new TopicBatches(this.#writers);
    this.#control = [];
    this.#isJoint = false;
    this.#events = 0;
    this.#firstCommit = last ? null : this.#firstCommit;
    this.#openedAt = 0;
    return part;
  }

  #note(position: Position, now: number): void {
    this.#position = position;
    if (this.#openedAt === 0) this.#openedAt = now;
  }
}
