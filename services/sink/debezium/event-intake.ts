import type { DebeziumState } from '#adapters/postgres/target/debezium-state.ts';
import type { DeadLetterStore } from '#adapters/postgres/target/dead-letter-store.ts';
import type { Image } from '#core/change.ts';
import { badRecord } from '#core/debezium-source/bad-record.ts';
import type { SourceEvent } from '#core/debezium-source/event.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { Placeholder } from '#core/debezium-source/placeholder.ts';
import { changeOf, keyImage, type RowReaderOptions, type SourceChange } from '#core/debezium-source/row-change.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { lsnOf, maxLsn, LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { KafkaRecord } from '#core/record.ts';
import type { ServiceStatus } from '#core/status.ts';
import { formatTable } from '#core/table-name.ts';
import type { EventOrigin } from './event-origin.ts';
import type { RowWriter } from './row-writer.ts';
import type { SinkTable, TableBook } from './table-book.ts';
import type { TargetBatch } from './target-batch.ts';
import type { PeekedEvent, PeekedFault, TopicReader } from './topic-reader.ts';

export interface EventIntakeOptions {
  readonly config: DebeziumSourceConfig;
  readonly book: TableBook;
  readonly topics: DebeziumState;
  readonly rows: Pick<RowWriter, 'truncate'>;
  readonly letters: Pick<DeadLetterStore, 'supersede'>;
  /** What cannot be read becomes a dead letter; else it stops the sink. */
  readonly mayLeaveOut: boolean;
  /** Of the last event that became a dead letter. */
  readonly lastOrdinal: number;
  readonly status: ServiceStatus;
  readonly logger: Logger;
}

/** Where an event goes, and with what. */
interface Taking {
  readonly table: SinkTable;
  readonly batch: TargetBatch;
  readonly transaction: Lsn | null;
}

const STARTS: ReadonlySet<string> = new Set(['first', 'first_in_data_collection']);
const ENDS: ReadonlySet<string> = new Set(['last', 'last_in_data_collection']);
const COUNTED = { c: 'insert', u: 'update', d: 'delete', t: 'truncate', r: 'snapshot' } as const;

/** Whether an event is a row of a snapshot, of the initial kind or of the incremental one. */
export function isSnapshotRow({ op, snapshot }: SourceEvent): boolean {
  return op === 'r' || snapshot === 'incremental';
}

/** Puts events into a batch as changes, whatever decided that it is their turn. */
export class EventIntake {
  readonly #options: EventIntakeOptions;
  readonly #placeholder: Placeholder;
  #ordinal: number;
  /** Tables whose losses were told. */
  readonly #opened = new WeakSet<SinkTable>();
  /** The newest LSN of what was taken. */
  through: Lsn = LSN_ZERO;

  constructor(options: EventIntakeOptions) {
    this.#options = options;
    this.#ordinal = options.lastOrdinal;
    this.#placeholder = new Placeholder(options.config.options.unavailableValuePlaceholder);
  }

  /**
   * Takes the event, and with the delete of a key's change the create; returns how many. 0: that one has not come yet. `transaction`: the
   * commit of the whole transaction that it belongs to; null where it is taken by itself.
   */
  async take(
    reader: TopicReader,
    peeked: PeekedEvent,
    batch: TargetBatch,
    transaction: Lsn | null = null,
  ): Promise<0 | 1 | 2> {
    const { event } = peeked;
    const followed = event.op === 'd' && event.isMoved ? reader.follow(peeked) : undefined;
    if (followed === null) return 0;
    const table = await this.#open(reader, event);
    if (!isSnapshotRow(event) && reader.isInSnapshot) this.#endSnapshot(reader, table, batch);
    if (followed?.kind === 'pair') {
      await this.#move(reader, peeked, followed.create, { table, batch, transaction });
      return 2;
    }
    await this.#change(reader, peeked, { table, batch, transaction });
    reader.take(peeked.records);
    this.#count(reader, event);
    return 1;
  }

  /** Leaves out a record that cannot be read. Its topic tells the table; where it does not, that is the end. @throws RestageError. */
  async leaveOut(reader: TopicReader, fault: PeekedFault, batch: TargetBatch): Promise<void> {
    const { error, record, bytes, records } = fault;
    const table = await this.#options.book.findByTopic(reader.topic);
    if (table === null) throw error;
    const origin = this.#origin(reader, { record, event: null }, null);
    this.#leaveOut({ reader, table, batch }, keyImage(fault.key, table.form, this.#tools), error, origin, bytes);
    reader.take(records);
  }

  async #change(reader: TopicReader, peeked: PeekedEvent, { table, batch, transaction }: Taking): Promise<void> {
    const { event, bytes } = peeked;
    const origin = this.#origin(reader, peeked, transaction);
    if (event.op === 't') return batch.truncate(table, event.place?.lsn ?? null, origin);
    const isOfRun = origin.isSnapshotRow;
    if (isOfRun) this.#beginSnapshot(reader, event, table, batch);
    const read = await this.#attempt(() => this.#read(reader, event, table));
    if (read instanceof RestageError) {
      const key = keyImage(event.key, table.form, this.#tools);
      this.#leaveOut({ reader, table, batch }, key, read, origin, bytes);
    } else {
      const { change, table: known } = read;
      batch.add({ kind: 'change', table: known, change, origin }, bytes);
      if (isOfRun && reader.isTracked && change.kind === 'put') batch.see(known, change.key);
    }
    if (isOfRun && ENDS.has(event.snapshot)) this.#endSnapshot(reader, table, batch);
  }

  async #move(
    reader: TopicReader,
    peeked: PeekedEvent,
    create: PeekedEvent,
    { table, batch, transaction }: Taking,
  ): Promise<void> {
    const { event, record } = peeked;
    const origin = { ...this.#origin(reader, create, transaction), oldKey: record.key };
    const bytes = peeked.bytes + create.bytes;
    const read = await this.#attempt(async () => {
      const { change: removed } = await this.#read(reader, event, table);
      const made = await this.#read(reader, create.event, table);
      if (removed.kind !== 'remove' || made.change.kind !== 'put') throw badRecord(event, 'a key changed that is none');
      return { change: { ...made.change, kind: 'move', oldKey: removed.key } as const, table: made.table };
    });
    // Two rows are concerned, the old key's and the new one's: all of the table's wait.
    if (read instanceof RestageError) this.#leaveOut({ reader, table, batch }, null, read, origin, bytes);
    else batch.add({ kind: 'change', ...read, origin }, bytes);
    reader.take(create.records);
    this.#count(reader, event);
    this.#count(reader, create.event);
  }

  /** What is thrown for a record's own fault comes back where it may be left out. */
  async #attempt<T>(work: () => Promise<T>): Promise<T | RestageError> {
    try {
      return await work();
    } catch (error) {
      const isLeft = this.#options.mayLeaveOut && error instanceof RestageError && error.code === 'record_invalid';
      if (!isLeft) throw error;
      return error;
    }
  }

  #leaveOut(
    { reader, table, batch }: { readonly reader: TopicReader; readonly table: SinkTable; readonly batch: TargetBatch },
    image: Image | null,
    error: RestageError,
    origin: EventOrigin,
    bytes: number,
  ): void {
    const { identity } = table.target;
    const isKnown = image !== null && identity.length > 0 && identity.every((name) => image.has(name));
    const key = isKnown ? image : null;
    batch.add({ kind: 'unusable', table, key, error, origin }, bytes);
    if (!reader.isInSnapshot || !reader.isTracked) return;
    // Rows that this snapshot does not show would be removed, and this may be one of them.
    if (key === null) reader.isTracked = false;
    else batch.see(table, key);
  }

  #origin(
    { topic }: TopicReader,
    { record, event }: { readonly record: KafkaRecord; readonly event: SourceEvent | null },
    transaction: Lsn | null,
  ): EventOrigin {
    this.#ordinal += 1;
    const commit = transaction ?? maxLsn(this.through, lsnOf(event?.place?.lsn ?? LSN_ZERO));
    const xid = event?.transaction?.xid ?? '';
    return {
      topic,
      record,
      op: event?.op ?? null,
      position: { commit, ordinal: this.#ordinal },
      transaction,
      isSnapshotRow: event?.op === 'r' && event.snapshot !== 'incremental',
      xid: /^\d+$/.test(xid) ? BigInt(xid) : null,
      oldKey: null,
    };
  }

  get #tools(): RowReaderOptions {
    return { options: this.#options.config.options, placeholder: this.#placeholder };
  }

  /** Columns that somebody has added to the target meanwhile count. */
  async #read(
    reader: TopicReader,
    event: SourceEvent,
    table: SinkTable,
  ): Promise<{ readonly change: SourceChange; readonly table: SinkTable }> {
    const tools = this.#tools;
    try {
      return { change: changeOf(event, table.form, tools), table };
    } catch (error) {
      if (!(error instanceof RestageError) || error.code !== 'target_altered') throw error;
      this.#options.book.forget();
      const again = await this.#open(reader, event);
      return { change: changeOf(event, again.form, tools), table: again };
    }
  }

  async #open(reader: TopicReader, event: SourceEvent): Promise<SinkTable> {
    const table = await this.#options.book.open(event, !reader.hasRows);
    if (this.#opened.has(table)) return table;
    this.#opened.add(table);
    for (const [loss, columns] of table.losses)
      this.#options.logger.warn(
        { table: formatTable(table.form.table), columns },
        `values come here as the connector shortened them: ${loss}`,
      );
    return table;
  }

  #count(reader: TopicReader, event: SourceEvent): void {
    const { status } = this.#options;
    reader.hasRows = true;
    if (reader.shown?.server !== event.server) reader.shown = { server: event.server, lsn: 0n };
    if (event.op === 'r' && event.place !== null && event.snapshot !== 'incremental')
      reader.shown = { server: event.server, lsn: event.place.lsn };
    status.events[COUNTED[event.op]] += 1;
    if (event.place !== null) this.through = maxLsn(this.through, lsnOf(event.place.lsn));
    status.lagSeconds = Math.max(0, (Date.now() - Number(event.micros / 1_000n)) / 1_000);
  }

  /** A first row begins anew, also where the snapshot before it was cut short. */
  #beginSnapshot(reader: TopicReader, event: SourceEvent, table: SinkTable, batch: TargetBatch): void {
    if (reader.isInSnapshot && !STARTS.has(event.snapshot)) return;
    const { topics, config, rows, letters } = this.#options;
    reader.mark.forget();
    reader.isInSnapshot = true;
    reader.isTracked = reader.hasRows && config.areSnapshotsWhole;
    const { topic } = reader;
    const isEmptied = event.key === null && reader.isTracked;
    batch.work(async (client) => {
      await topics.forgetSeen(client, topic);
      // What waits from before is in the rows that come now.
      await letters.supersede(topic, null);
      // Rows without a key cannot be told from those of the snapshot before.
      if (isEmptied) await rows.truncate([table]);
    });
  }

  #endSnapshot(reader: TopicReader, table: SinkTable, batch: TargetBatch): void {
    const { topics, logger } = this.#options;
    const { topic, isTracked } = reader;
    const isKeyed = table.target.identity.length > 0;
    reader.isInSnapshot = false;
    reader.isTracked = false;
    batch.work(async (client) => {
      await topics.clearAllMissing(client, topic);
      if (!isTracked || !isKeyed) return;
      const removed = await topics.removeUnseen(client, topic, table.target);
      if (removed > 0)
        logger.warn(
          { table: formatTable(table.form.table), removed },
          'rows that a new snapshot did not see were removed',
        );
    });
  }
}

/** A key's columns as text, to tell apart what lies at one place of the WAL. */
export function eventId(event: SourceEvent): string {
  const values: Image = new Map([...(event.key?.values ?? [])].map(([name, value]) => [name, plainText(value)]));
  return JSON.stringify([event.op, ...values]);
}

function plainText(value: unknown): string {
  return Buffer.isBuffer(value)
    ? value.toString('base64')
    : String(value instanceof Map ? JSON.stringify([...value]) : value);
}
