import type { OldTuple, PgoutputMessage } from '#adapters/postgres/source/pgoutput-message.ts';
import type { PipelineRecords, TransactionFacts } from '#core/debezium/pipeline-records.ts';
import type { DebeziumRecord, OldImage, StreamFacts } from '#core/debezium/table-events.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { TableStructure } from '#core/structure.ts';
import { textsOf } from '#core/tuple.ts';
import type { LoadedTables } from '#core/debezium/loaded-tables.ts';
import type { CapturedTable } from './captured-table.ts';
import type { StreamEpochs } from './stream-epochs.ts';

export type RowMessage = Extract<PgoutputMessage, { tag: 'insert' | 'update' | 'delete' }>;

export interface DebeziumStreamOptions {
  readonly records: PipelineRecords;
  readonly database: string;
  readonly epochs: StreamEpochs;
  readonly loaded: LoadedTables;
  readonly status: ServiceStatus;
  readonly clock: () => number;
}

interface OpenTransaction extends TransactionFacts {
  readonly xid64: bigint;
  readonly lastCommit: Lsn;
  /** Events by table, in the order of their first ones; before any filter for what is written already. */
  readonly counts: Map<string, { readonly table: TableStructure; count: number }>;
  total: number;
  last: Position | null;
}

/** The stream's events in profile `debezium`: rows, and the boundaries of their transactions. One transaction after another. */
export class DebeziumStream {
  readonly #options: DebeziumStreamOptions;
  #transaction: OpenTransaction | null = null;
  /** null before this life's first commit: then it is how far Kafka is. */
  #lastCommit: Lsn | null = null;

  constructor(options: DebeziumStreamOptions) {
    this.#options = options;
  }

  begin({ xid, commitTime }: TransactionFacts, xid64: bigint): void {
    const lastCommit = this.#lastCommit ?? this.#options.epochs.reached;
    this.#transaction = { xid, xid64, commitTime, lastCommit, counts: new Map(), total: 0, last: null };
  }

  /** False where nothing was written: the snapshot has it, or an earlier life has written it. */
  change(table: CapturedTable, message: RowMessage, position: Position, lsn: Lsn): boolean {
    const events = table.debezium;
    if (events === null || this.#isInSnapshot(table, position)) return false;
    return this.#write(
      table,
      position,
      lsn,
      (facts) => {
        switch (message.tag) {
          case 'insert':
            return events.insert(textsOf(message.after), facts);
          case 'update':
            return events.update(
              message.before === null ? null : imageOf(message.before),
              textsOf(message.after),
              facts,
            );
          case 'delete':
            return events.delete(imageOf(message.before), facts);
        }
      },
      message.tag,
    );
  }

  /** An event on every table's topic, unless TRUNCATE is skipped; the manifest's control entry is the caller's. */
  truncate(tables: readonly CapturedTable[], position: Position, lsn: Lsn): void {
    for (const table of tables) {
      const events = table.debezium;
      if (events === null || this.#isInSnapshot(table, position)) continue;
      this.#write(table, position, lsn, (facts) => events.truncate(facts), null);
    }
  }

  /** `lsn`: of the commit message. A transaction without events of the chosen tables has no boundaries either. */
  commit(lsn: Lsn): void {
    const transaction = this.#transaction;
    this.#transaction = null;
    this.#lastCommit = lsn;
    if (transaction === null || transaction.last === null) return;
    const counts = [...transaction.counts.values()].map(({ table, count }) => [table, count] as const);
    const end = this.#options.records.end(transaction, lsn, counts);
    if (end !== null) this.#appendBoundary(end, transaction, transaction.last);
  }

  #isInSnapshot({ structure }: CapturedTable, { commit }: Position): boolean {
    return commit < this.#options.loaded.snapshotOf(structure.topic);
  }

  #write(
    table: CapturedTable,
    position: Position,
    lsn: Lsn,
    make: (facts: StreamFacts) => readonly DebeziumRecord[],
    counted: RowMessage['tag'] | null,
  ): boolean {
    const transaction = this.#transaction;
    if (transaction === null) return false;
    const { records, database, epochs, clock, status } = this.#options;
    const { xid, commitTime, lastCommit } = transaction;
    const order = records.hasTransactions ? () => nextOrder(transaction, table.structure) : null;
    const isFirst = transaction.last === null;
    // Made also where it is written already: the transaction's counts must come out the same after a restart.
    const made = make({ database, xid, commitTime, lsn, lastCommit, processedMs: clock(), order });
    if (made.length === 0) return false;
    transaction.last = position;
    if (!epochs.isNew(position)) return false;
    const begin = isFirst ? records.begin(transaction, lsn) : null;
    if (begin !== null) this.#appendBoundary(begin, transaction, position);
    for (const record of made) this.#append(record, transaction, position, table.record.version);
    // A changed key is told by two events of different keys: a delete, and the row anew.
    if (counted === 'update' && made.length > 1) epochs.noteKeyChange();
    if (counted !== null) status.events[counted] += 1;
    return true;
  }

  #append(record: DebeziumRecord, transaction: OpenTransaction, position: Position, structure: number): void {
    const { epochs, clock } = this.#options;
    const { topic, key, value, headers } = record;
    epochs.append(topic, key, value, position, transaction.xid64, structure, clock(), headers);
  }

  #appendBoundary(record: DebeziumRecord, transaction: OpenTransaction, position: Position): void {
    const { epochs, clock } = this.#options;
    const { topic, key, value, headers } = record;
    epochs.appendBoundary(topic, key, value, position, transaction.xid64, clock(), headers);
  }
}

function nextOrder(transaction: OpenTransaction, table: TableStructure): { total: number; collection: number } {
  const known = transaction.counts.get(table.topic) ?? { table, count: 0 };
  known.count += 1;
  transaction.total += 1;
  transaction.counts.set(table.topic, known);
  return { total: transaction.total, collection: known.count };
}

function imageOf({ values }: OldTuple): OldImage {
  return { values: textsOf(values) };
}
