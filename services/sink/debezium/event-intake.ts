import type { DebeziumState } from '#adapters/postgres/target/debezium-state.ts';
import type { Image } from '#core/change.ts';
import { badRecord } from '#core/debezium-source/bad-record.ts';
import type { SourceEvent } from '#core/debezium-source/event.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { Placeholder } from '#core/debezium-source/placeholder.ts';
import { changeOf, type SourceChange } from '#core/debezium-source/row-change.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { lsnOf, maxLsn, LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { ServiceStatus } from '#core/status.ts';
import { formatTable } from '#core/table-name.ts';
import type { SinkTable, TableBook } from './table-book.ts';
import type { TargetBatch } from './target-batch.ts';
import type { PeekedEvent, TopicReader } from './topic-reader.ts';

export interface EventIntakeOptions {
  readonly config: DebeziumSourceConfig;
  readonly book: TableBook;
  readonly topics: DebeziumState;
  readonly status: ServiceStatus;
  readonly logger: Logger;
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
  /** The newest LSN of what was taken. */
  through: Lsn = LSN_ZERO;

  constructor(options: EventIntakeOptions) {
    this.#options = options;
    this.#placeholder = new Placeholder(options.config.options.unavailableValuePlaceholder);
  }

  /** Takes the event, and with the delete of a key's change the create; returns how many. 0: that one has not come yet. */
  async take(reader: TopicReader, peeked: PeekedEvent, batch: TargetBatch): Promise<0 | 1 | 2> {
    const { event } = peeked;
    const followed = event.op === 'd' && event.isMoved ? reader.follow(peeked) : undefined;
    if (followed === null) return 0;
    const table = await this.#open(reader, event);
    if (!isSnapshotRow(event) && reader.isInSnapshot) this.#endSnapshot(reader, table, batch);
    if (followed?.kind === 'pair') {
      await this.#move(reader, peeked, followed.create, table, batch);
      return 2;
    }
    await this.#change(reader, peeked, table, batch);
    reader.take(peeked.records);
    this.#count(reader, event);
    return 1;
  }

  async #change(
    reader: TopicReader,
    { event, bytes }: PeekedEvent,
    table: SinkTable,
    batch: TargetBatch,
  ): Promise<void> {
    if (event.op === 't') return batch.truncate(table, event.place?.lsn ?? null);
    const isOfRun = event.op === 'r' && event.snapshot !== 'incremental';
    if (isOfRun) this.#beginSnapshot(reader, event, table, batch);
    const { change, table: known } = await this.#read(reader, event, table);
    batch.add(known, change, bytes);
    if (isOfRun && reader.isTracked && change.kind === 'put') batch.see(known, change.key);
    if (isOfRun && ENDS.has(event.snapshot)) this.#endSnapshot(reader, known, batch);
  }

  async #move(
    reader: TopicReader,
    { event, bytes }: PeekedEvent,
    create: PeekedEvent,
    table: SinkTable,
    batch: TargetBatch,
  ): Promise<void> {
    const { change: removed } = await this.#read(reader, event, table);
    const { change: made, table: known } = await this.#read(reader, create.event, table);
    if (removed.kind !== 'remove' || made.kind !== 'put') throw badRecord(event, 'a key changed that is none');
    batch.add(known, { ...made, kind: 'move', oldKey: removed.key }, bytes + create.bytes);
    reader.take(create.records);
    this.#count(reader, event);
    this.#count(reader, create.event);
  }

  /** Columns that somebody has added to the target meanwhile count. */
  async #read(
    reader: TopicReader,
    event: SourceEvent,
    table: SinkTable,
  ): Promise<{ readonly change: SourceChange; readonly table: SinkTable }> {
    const tools = { options: this.#options.config.options, placeholder: this.#placeholder };
    try {
      return { change: changeOf(event, table.form, tools), table };
    } catch (error) {
      if (!(error instanceof RestageError) || error.code !== 'target_altered') throw error;
      this.#options.book.forget();
      const again = await this.#open(reader, event);
      return { change: changeOf(event, again.form, tools), table: again };
    }
  }

  #open(reader: TopicReader, event: SourceEvent): Promise<SinkTable> {
    return this.#options.book.open(event, !reader.hasRows);
  }

  #count(reader: TopicReader, event: SourceEvent): void {
    const { status } = this.#options;
    reader.hasRows = true;
    status.events[COUNTED[event.op]] += 1;
    if (event.place !== null) this.through = maxLsn(this.through, lsnOf(event.place.lsn));
    status.lagSeconds = Math.max(0, (Date.now() - Number(event.micros / 1_000n)) / 1_000);
  }

  /** A first row begins anew, also where the snapshot before it was cut short. */
  #beginSnapshot(reader: TopicReader, event: SourceEvent, table: SinkTable, batch: TargetBatch): void {
    if (reader.isInSnapshot && !STARTS.has(event.snapshot)) return;
    const { topics, config } = this.#options;
    reader.mark.forget();
    reader.isInSnapshot = true;
    reader.isTracked = reader.hasRows && config.areSnapshotsWhole;
    const { topic } = reader;
    batch.work((client) => topics.forgetSeen(client, topic));
    // Rows without a key cannot be told from those of the snapshot before.
    if (event.key === null && reader.isTracked) batch.truncate(table, null);
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
