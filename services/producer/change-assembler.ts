import type { OldTuple, PgoutputMessage } from '#adapters/postgres/source/pgoutput-message.ts';
import { RestageError } from '#core/errors.ts';
import { transactionFacts, type TransactionFacts } from '#core/event-encoder.ts';
import type { Text } from '#core/long-text.ts';
import { formatLsn, type Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import { encodeHeaders } from '#core/record.ts';
import type { ServiceStatus } from '#core/status.ts';
import { formatTable, quoteTable } from '#core/table-name.ts';
import type { Tuple } from '#core/tuple.ts';
import type { CapturedTable } from './captured-table.ts';
import type { DebeziumStream, RowMessage } from './debezium-stream.ts';
import type { RelationBook } from './relation-book.ts';
import type { StreamEpochs } from './stream-epochs.ts';
import type { WrittenStructures } from './written-structures.ts';

/** pg_logical_emit_message prefixes of ours; other applications' messages are theirs. */
export const MESSAGE_PREFIX = 'restage';
export const HEARTBEAT_PREFIX = 'restage.heartbeat';

const NO_HEADERS = encodeHeaders([]);

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

interface OpenTransaction extends TransactionFacts {
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
    return this.#transaction?.commit ?? null;
  }

  /** The same transaction's. */
  get xid(): number | null {
    return this.#transaction?.xid ?? null;
  }

  /** Tables have other structures from the open transaction's next event on. */
  introduce(tables: readonly CapturedTable[]): void {
    if (this.#transaction === null) return;
    const { commit, ordinal } = this.#transaction;
    const position = { commit, ordinal: ordinal + 1 };
    if (this.#options.epochs.isNew(position)) for (const table of tables) this.#introduce(table, position);
  }

  accept(message: Exclude<PgoutputMessage, { tag: 'relation' }>, lsn: Lsn): void {
    switch (message.tag) {
      case 'begin':
        this.#transaction = {
          ...transactionFacts(message.commit, message.xid, message.commitTime),
          xid64: extendXid(message.xid, this.#options.recentXid),
          ordinal: 0,
          tableOrdinals: new Map(),
        };
        this.#options.debezium?.begin(this.#transaction);
        this.#options.epochs.begin(message.commit, message.commitTime);
        return;
      case 'commit':
        this.#options.debezium?.commit(lsn);
        this.#transaction = null;
        this.#options.epochs.commit(message.end);
        return;
      case 'insert':
        return this.#change(message, lsn, (table, event) =>
          this.#write(table, 'c', 'null', message.after, message.after, event),
        );
      case 'update':
        return this.#change(message, lsn, (table, event) => this.#update(table, message.before, message.after, event));
      case 'delete':
        return this.#change(message, lsn, (table, event) => this.#delete(table, message.before, event));
      case 'truncate':
        return this.#truncate(message, lsn);
      case 'message':
        return this.#logicalMessage(message);
      case 'other':
        return;
    }
  }

  #change(change: RowMessage, lsn: Lsn, write: (table: CapturedTable, event: EventPlace) => void): void {
    const { transaction, position } = this.#next();
    const table = this.#options.book.get(change.relation);
    if (table === null) return;
    const { debezium } = this.#options;
    if (debezium !== null) {
      if (change.tag !== 'insert') requireIdentity(table, { position });
      if (debezium.change(table, change, position, lsn)) this.#introduce(table, position);
      return;
    }
    const tableOrdinal = (transaction.tableOrdinals.get(table.structure.topic) ?? 0) + 1;
    transaction.tableOrdinals.set(table.structure.topic, tableOrdinal);
    if (!this.#options.epochs.isNew(position)) return;
    this.#introduce(table, position);
    write(table, { transaction, position, lsn, tableOrdinal });
  }

  #update(table: CapturedTable, before: OldTuple | null, after: Tuple, event: EventPlace): void {
    const { encoder } = table;
    requireIdentity(table, event);
    if (before === null) return this.#write(table, 'u', 'null', after, after, event);
    // An unchanged, toasted identity column comes in the old tuple only.
    const key = encoder.withKey(after, before.values);
    if (before.kind === 'full') return this.#write(table, 'u', encoder.row(before.values), after, key, event);
    const isSame = encoder.isSameKey(before.values, key);
    this.#write(table, 'u', isSame ? 'null' : (encoder.key(before.values) ?? 'null'), key, key, event);
  }

  #delete(table: CapturedTable, before: OldTuple, event: EventPlace): void {
    const { encoder } = table;
    requireIdentity(table, event);
    const image = before.kind === 'full' ? encoder.row(before.values) : (encoder.key(before.values) ?? 'null');
    const key = encoder.key(before.values);
    this.#append(table, key, encoder.change('d', image, 'null', event.transaction, this.#facts(event)), event);
    if (key !== null) this.#append(table, key, null, event);
    this.#options.status.events.delete += 1;
  }

  #write(table: CapturedTable, op: 'c' | 'u', before: Text, after: Tuple, key: Tuple, event: EventPlace): void {
    const { encoder } = table;
    const value = encoder.change(op, before, encoder.row(after), event.transaction, this.#facts(event));
    this.#append(table, encoder.key(key), value, event);
    this.#options.status.events[op === 'c' ? 'insert' : 'update'] += 1;
  }

  #append(table: CapturedTable, key: string | null, value: Text | null, event: EventPlace): void {
    const { epochs, clock } = this.#options;
    epochs.append(
      table.structure.topic,
      key,
      value,
      event.position,
      event.transaction.xid64,
      table.record.version,
      clock(),
    );
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
        commitTime: String(transaction.commitTime),
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
    return { transaction, position: { commit: transaction.commit, ordinal: transaction.ordinal } };
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

  #facts(event: EventPlace): { lsn: Lsn; ordinal: number; tableOrdinal: number; processedMs: number } {
    return {
      lsn: event.lsn,
      ordinal: event.position.ordinal,
      tableOrdinal: event.tableOrdinal,
      processedMs: this.#options.clock(),
    };
  }
}

interface EventPlace {
  readonly transaction: OpenTransaction;
  readonly position: Position;
  readonly lsn: Lsn;
  readonly tableOrdinal: number;
}

/** @throws RestageError identity_missing: the event names no row, as where a key has a generated column, which is not sent. */
function requireIdentity({ structure }: CapturedTable, { position }: Pick<EventPlace, 'position'>): void {
  if (structure.identity.kind !== 'nothing') return;
  throw new RestageError('identity_missing', 'an UPDATE or DELETE came of a table without a usable replica identity', {
    where: `${formatTable(structure)}, LSN ${formatLsn(position.commit)}`,
    fix: `ALTER TABLE ${quoteTable(structure)} REPLICA IDENTITY FULL; then start the pipeline anew under another name`,
  });
}

/** The 64-bit xid nearest to a recent one that ends in these 32 bits (PostgreSQL: "Transactions and Identifiers"). */
export function extendXid(xid: number, recent: bigint): bigint {
  const base = (recent & ~0xffffffffn) | BigInt(xid >>> 0);
  if (base - recent > 0x7fffffffn && base >= 0x100000000n) return base - 0x100000000n;
  return recent - base > 0x7fffffffn ? base + 0x100000000n : base;
}
