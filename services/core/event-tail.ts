import { ByteWriter } from '#core/byte-writer.ts';
import { formatLsn, type Lsn } from '#core/lsn.ts';
import type { TableStructure } from '#core/structure.ts';

/** What every event of a transaction shares. */
export interface TransactionFacts {
  readonly commit: Lsn;
  readonly xid: number;
  /** Microseconds since 1970. */
  readonly commitTime: bigint;
  /** What of it stands in every envelope, as JSON: made by transactionFacts, once for all of its events. */
  readonly pieces: { readonly times: Uint8Array; readonly commit: Uint8Array; readonly id: Uint8Array };
}

export interface EventFacts {
  readonly lsn: Lsn;
  readonly ordinal: number;
  /** 1, 2, … among the transaction's events of this table. */
  readonly tableOrdinal: number;
  readonly processedMs: number;
}

export type StreamOp = 'c' | 'u' | 'd';

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);
/** More than the numbers of an event and the pieces of its transaction take together. */
const NUMBERS_BYTES = 512;
/** More than the pieces of a transaction take. */
const TRANSACTION_BYTES = 256;
const AFTER_LSN = bytesOf(',"xmin":null,"origin":null},"transaction":');
const BETWEEN_LSNS = bytesOf('\\",\\"');
const LSN = bytesOf(',"lsn":');
const [MS, US, NS] = [bytesOf(',"ts_ms":'), bytesOf(',"ts_us":'), bytesOf(',"ts_ns":')];
const THOUSAND = bytesOf('000');
const ID = bytesOf('{"id":"');
const TOTAL_ORDER = bytesOf('","total_order":');
const COLON = 0x3a;
const TABLE_ORDER = bytesOf(',"data_collection_order":');

export function transactionFacts(commit: Lsn, xid: number, commitTime: bigint): TransactionFacts {
  const out = new ByteWriter(TRANSACTION_BYTES);
  writeTimes(out, commitTime);
  const times = out.length;
  writeLsn(out, commit);
  const lsn = out.length;
  out.put(ID);
  out.decimal(xid);
  out.byte(COLON);
  out.put(bytesOf(formatLsn(commit)));
  out.put(TOTAL_ORDER);
  const pieces = { times: out.view(0, times), commit: out.view(times, lsn), id: out.view(lsn) };
  return { commit, xid, commitTime, pieces };
}

/** A commit's, as three fields. */
function writeTimes(out: ByteWriter, commitTime: bigint): void {
  const us = Number(commitTime);
  if (us < 1 || us > Number.MAX_SAFE_INTEGER)
    return out.put(bytesOf(`,"ts_ms":${commitTime / 1000n},"ts_us":${commitTime},"ts_ns":${commitTime * 1000n}`));
  out.put(MS);
  out.decimal(Math.floor(us / 1000));
  out.put(US);
  out.decimal(us);
  out.put(NS);
  out.decimal(us);
  out.put(THOUSAND);
}

/** Writes what stands behind the images in an envelope of one table's stream: its parts that stay are bytes already. */
export class EventTail {
  /** The most bytes that a tail has. */
  readonly most: number;
  readonly #head: Uint8Array;
  readonly #sequence: Uint8Array;
  readonly #table: Uint8Array;
  readonly #ends: Readonly<Record<StreamOp, Uint8Array>> = { c: endOf('c'), u: endOf('u'), d: endOf('d') };
  #clockMs = -1;
  #clock: Uint8Array = bytesOf('');

  constructor(structure: TableStructure, sourceHead: string, database: string) {
    this.#head = bytesOf(`,"source":${sourceHead}`);
    this.#sequence = bytesOf(`,"snapshot":"false","db":${JSON.stringify(database)},"sequence":"[\\"`);
    this.#table = bytesOf(`\\"]"${tableFields(structure)},"txId":`);
    const fixed = [this.#head, this.#sequence, this.#table, AFTER_LSN, BETWEEN_LSNS, LSN, TABLE_ORDER, this.#ends.c];
    this.most = fixed.reduce((sum, { length }) => sum + length, NUMBERS_BYTES);
  }

  /** The caller has made room for `most`. */
  write(out: ByteWriter, op: StreamOp, { xid, pieces }: TransactionFacts, event: EventFacts): void {
    out.put(this.#head);
    out.put(pieces.times);
    out.put(this.#sequence);
    out.put(pieces.commit);
    out.put(BETWEEN_LSNS);
    writeLsn(out, event.lsn);
    out.put(this.#table);
    out.decimal(xid);
    out.put(LSN);
    writeLsn(out, event.lsn);
    out.put(AFTER_LSN);
    out.put(pieces.id);
    out.decimal(event.ordinal);
    out.put(TABLE_ORDER);
    out.decimal(event.tableOrdinal);
    out.put(this.#ends[op]);
    out.put(this.#clockOf(event.processedMs));
  }

  text(op: StreamOp, transaction: TransactionFacts, event: EventFacts): string {
    const out = new ByteWriter(this.most);
    this.write(out, op, transaction, event);
    return out.view().toString();
  }

  /** The same for many events in a row. */
  #clockOf(ms: number): Uint8Array {
    if (ms !== this.#clockMs) {
      this.#clockMs = ms;
      this.#clock = bytesOf(`${clockFields(ms)}}`);
    }
    return this.#clock;
  }
}

/** When an event was made. */
export function clockFields(ms: number): string {
  return `"ts_ms":${ms},"ts_us":${ms}000,"ts_ns":${ms}000000`;
}

export function tableFields({ schema, table }: TableStructure): string {
  return `,"schema":${JSON.stringify(schema)},"table":${JSON.stringify(table)}`;
}

function endOf(op: StreamOp): Uint8Array {
  return bytesOf(`},"op":"${op}",`);
}

/** An LSN in decimal: below 2^53 a JavaScript number prints the same digits in a fraction of the time. */
export function decimalLsn(lsn: Lsn): string {
  return lsn <= SAFE ? String(Number(lsn)) : String(lsn);
}

function writeLsn(out: ByteWriter, lsn: Lsn): void {
  if (lsn <= SAFE) out.decimal(Number(lsn));
  else out.put(bytesOf(String(lsn)));
}

export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text);
}
