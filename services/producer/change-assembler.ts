import type { PgoutputMessage } from '#adapters/postgres/source/pgoutput-message.ts';
import { RestageError } from '#core/errors.ts';
import type { RowEvent } from '#core/event-encoder.ts';
import { transactionFacts, type EventFacts, type TransactionFacts } from '#core/event-tail.ts';
import { formatLsn, type Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import type { ServiceStatus } from '#core/status.ts';
import { formatTable, quoteTable } from '#core/table-name.ts';
import type { CapturedTable } from './captured-table.ts';
import type { DebeziumStream, RowMessage } from './debezium-stream.ts';
import type { RelationBook } from './relation-book.ts';
import type { StreamEpochs } from './stream-epochs.ts';
import type { WrittenStructures } from './written-structures.ts';

/** pg_logical_emit_message prefixes of ours; other applications' messages are theirs. */
export const MESSAGE_PREFIX = 'restage';
export const HEARTBEAT_PREFIX = 'restage.heartbeat';

export interface AssemblerOptions {
  readonly book: Pick<RelationBook, 'get' | 'truncated'>;
  readonly epochs: StreamEpochs;
  readonly schemasTopic: string;
  /** What the topic of structures says; new records are noted here. */
  readonly written: WrittenStructures;
  /** Makes 64 bits of the stream's 32 (a recent 64-bit xid of the source). */
  readonly recentXid: bigint;
  readonly status: ServiceStatus;
  readonly clock: () => number;
  /** null: profile `lossless`. */
  readonly debezium: DebeziumStream | null;
}

interface OpenTransaction {
  readonly facts: TransactionFacts;
  readonly xid64: bigint;
  /** Counts every row message before any filter, so that positions are the same after a restart. */
  ordinal: number;
  /** By topic. */
  readonly tableOrdinals: Map<string, number>;
}

/** Turns messages into events of the current epoch. Synchronous: relations are learnt by the caller before. */
export class ChangeAssembler {
  readonly #options: AssemblerOptions;
  #transaction: OpenTransaction | null = null;

  constructor(options: AssemblerOptions) {
    this.#options = options;
  }

  /** Of the transaction that is open; null between two. */
  get commit(): Lsn | null {
    return this.#transaction?.facts.commit ?? null;
  }

  /** The same transaction's. */
  get xid(): number | null {
    return this.#transaction?.facts.xid ?? null;
  }

  /** Tables have other structures from the open transaction's next event on. */
  introduce(tables: readonly CapturedTable[]): void {
    if (this.#transaction === null) return;
    const { facts, ordinal } = this.#transaction;
    const position = { commit: facts.commit, ordinal: ordinal + 1 };
    if (this.#options.epochs.isNew(position)) for (const table of tables) this.#introduce(table, position);
  }

  accept(message: Exclude<PgoutputMessage, { tag: 'relation' }>, lsn: Lsn): void {
    switch (message.tag) {
      case 'begin':
        this.#transaction = {
          facts: transactionFacts(message.commit, message.xid, message.commitTime),
          xid64: extendXid(message.xid, this.#options.recentXid),
          ordinal: 0,
          tableOrdinals: new Map(),
        };
        this.#options.debezium?.begin(this.#transaction.facts, this.#transaction.xid64);
        this.#options.epochs.begin(message.commit, message.commitTime);
        return;
      case 'commit':
        this.#options.debezium?.commit(lsn);
        this.#transaction = null;
        this.#options.epochs.commit(message.end);
        return;
      case 'insert':
      case 'update':
      case 'delete':
        return this.#change(message, lsn);
      case 'truncate':
        return this.#truncate(message, lsn);
      case 'message':
        return this.#logicalMessage(message);
      case 'other':
        return;
    }
  }

  #change(change: RowMessage, lsn: Lsn): void {
    const { transaction, position } = this.#next();
    const { book, debezium, epochs, status, clock } = this.#options;
    const table = book.get(change.relation);
    if (table === null) return;
    if (debezium !== null) {
      if (change.tag !== 'insert') requireIdentity(table, position);
      if (debezium.change(table, change, position, lsn)) this.#introduce(table, position);
      return;
    }
    const { topic } = table.structure;
    const tableOrdinal = (transaction.tableOrdinals.get(topic) ?? 0) + 1;
    transaction.tableOrdinals.set(topic, tableOrdinal);
    if (!epochs.isNew(position)) return;
    this.#introduce(table, position);
    if (change.tag !== 'insert') requireIdentity(table, position);
    const now = clock();
    const event = encode(table, change, transaction.facts, {
      lsn,
      ordinal: position.ordinal,
      tableOrdinal,
      processedMs: now,
    });
    if (event.isKeyChange) epochs.noteKeyChange();
    const { version } = table.record;
    epochs.append(topic, event.key, event.value, position, transaction.xid64, version, now);
    if (change.tag === 'delete' && event.key !== null)
      epochs.append(topic, event.key, null, position, transaction.xid64, version, now);
    status.events[change.tag] += 1;
  }

  #truncate(message: Extract<PgoutputMessage, { tag: 'truncate' }>, lsn: Lsn): void {
    const { transaction, position } = this.#next();
    const { book, debezium, epochs } = this.#options;
    const tables = book.truncated(message.relations);
    debezium?.truncate(tables, position, lsn);
    if (tables.length === 0 || !epochs.isNew(position)) return;
    for (const table of tables) this.#introduce(table, position);
    this.#options.epochs.appendControl(
      {
        kind: 'truncate',
        commit: formatLsn(position.commit),
        ordinal: position.ordinal,
        topics: tables.map((table) => table.structure.topic),
        cascade: message.cascade,
        restartIdentity: message.restartIdentity,
        commitTime: String(transaction.facts.commitTime),
      },
      position,
      this.#options.clock(),
    );
    this.#options.status.events.truncate += 1;
  }

  #logicalMessage(message: Extract<PgoutputMessage, { tag: 'message' }>): void {
    if (!message.isTransactional) return;
    const { position } = this.#next();
    if (message.prefix !== MESSAGE_PREFIX || !this.#options.epochs.isNew(position)) return;
    this.#options.epochs.appendControl(
      { kind: 'barrier', commit: formatLsn(position.commit), ordinal: position.ordinal, id: message.content },
      position,
      this.#options.clock(),
    );
  }

  #next(): { transaction: OpenTransaction; position: Position } {
    const transaction = this.#transaction;
    if (transaction === null)
      throw new RestageError('record_invalid', 'the source sent a change outside a transaction');
    transaction.ordinal += 1;
    return { transaction, position: { commit: transaction.facts.commit, ordinal: transaction.ordinal } };
  }

  /** A structure goes into the transaction that first uses it, and what it makes of the one before stands at the event's position. */
  #introduce(table: CapturedTable, position: Position): void {
    const { written, epochs, schemasTopic, clock } = this.#options;
    if (written.isAdded(table)) return;
    const from = written.versionOf(table.structure.topic);
    const records = written.add(table);
    for (const { key, value } of records) epochs.appendStructure(schemasTopic, key, value, NO_HEADERS);
    const { version: to } = table.record;
    if (from === null || from === to || table.changes.length === 0) return;
    epochs.appendControl(
      {
        kind: 'ddl',
        commit: formatLsn(position.commit),
        ordinal: position.ordinal,
        topic: table.structure.topic,
        from,
        to,
        changes: [...table.changes],
        ...(table.columnsOf === null ? {} : { columnsOf: table.columnsOf }),
      },
      position,
      clock(),
    );
  }
}

function encode(
  { encoder }: CapturedTable,
  change: RowMessage,
  transaction: TransactionFacts,
  facts: EventFacts,
): RowEvent {
  switch (change.tag) {
    case 'insert':
      return encoder.insert(change.after, transaction, facts);
    case 'update':
      return encoder.update(change.before, change.after, transaction, facts);
    case 'delete':
      return encoder.delete(change.before, transaction, facts);
  }
}

/** @throws RestageError identity_missing: the event names no row, as where a key has a generated column, which is not sent. */
function requireIdentity({ structure }: CapturedTable, { commit }: Position): void {
  if (structure.identity.kind !== 'nothing') return;
  throw new RestageError('identity_missing', 'an UPDATE or DELETE came of a table without a usable replica identity', {
    where: `${formatTable(structure)}, LSN ${formatLsn(commit)}`,
    fix: `ALTER TABLE ${quoteTable(structure)} REPLICA IDENTITY FULL; then start the pipeline anew under another name`,
  });
}

/** The 64-bit xid nearest to a recent one that ends in these 32 bits (PostgreSQL: "Transactions and Identifiers"). */
export function extendXid(xid: number, recent: bigint): bigint {
  const base = (recent & ~0xffffffffn) | BigInt(xid >>> 0);
  if (base - recent > 0x7fffffffn && base >= 0x100000000n) return base - 0x100000000n;
  return recent - base > 0x7fffffffn ? base + 0x100000000n : base;
}
