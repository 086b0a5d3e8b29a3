import { RestageError } from '#core/errors.ts';
import { lsnOf, type Lsn } from '#core/lsn.ts';
import type { OldTuple, PgoutputMessage, RelationColumn } from '#adapters/postgres/source/pgoutput-message.ts';
import {
  LARGE_TUPLE_BYTES,
  NULL_KIND,
  TEXT_KIND,
  textsOf,
  UNCHANGED_KIND,
  WireTuple,
  type SentTuple,
} from '#core/tuple.ts';

/** Microseconds from 1970-01-01 to 2000-01-01, PostgreSQL's epoch. */
const POSTGRES_EPOCH_US = 946_684_800_000_000n;
const IDENTITIES = ['d', 'n', 'f', 'i'] as const;

/**
 * One message of the pgoutput plug-in, `bytes` from `from` to before `end`, protocol 2 with streaming off: transactions arrive whole, in commit
 * order.
 * Source: PostgreSQL, "Logical Replication Message Formats".
 * @throws RestageError record_invalid on bytes that are no such message.
 */
export function decodePgoutput(bytes: Buffer, from = 0, end = bytes.length): PgoutputMessage {
  const reader = new FrameReader(bytes, from, end);
  try {
    return decodeBy(String.fromCharCode(reader.uint8()), reader);
  } catch (cause) {
    if (cause instanceof RestageError) throw cause;
    throw new RestageError('record_invalid', 'the source sent a replication message that ends too early', { cause });
  }
}

function decodeBy(tag: string, reader: FrameReader): PgoutputMessage {
  switch (tag) {
    case 'I': {
      const relation = reader.uint32();
      reader.skip(1);
      return { tag: 'insert', relation, after: reader.tuple() };
    }
    case 'U':
      return decodeUpdate(reader);
    case 'D':
      return { tag: 'delete', relation: reader.uint32(), before: reader.oldTuple(reader.char()) };
    case 'B':
      return { tag: 'begin', commit: reader.lsn(), commitTime: reader.time(), xid: reader.uint32() };
    case 'C':
      reader.skip(1);
      return { tag: 'commit', commit: reader.lsn(), end: reader.lsn() };
    case 'R':
      return decodeRelation(reader);
    case 'T':
      return decodeTruncate(reader);
    case 'M':
      return decodeLogicalMessage(reader);
    case 'O':
    case 'Y':
      return { tag: 'other' };
    default:
      throw new RestageError(
        'record_invalid',
        `the source sent an unknown replication message ${JSON.stringify(tag)}`,
        {
          fix: 'check that the slot uses the plug-in pgoutput of PostgreSQL 14 to 18',
        },
      );
  }
}

function decodeUpdate(reader: FrameReader): PgoutputMessage {
  const relation = reader.uint32();
  const kind = reader.char();
  if (kind === 'N') return { tag: 'update', relation, before: null, after: reader.tuple() };
  const before = reader.oldTuple(kind);
  reader.skip(1);
  return { tag: 'update', relation, before, after: reader.tuple() };
}

function decodeRelation(reader: FrameReader): PgoutputMessage {
  const oid = reader.uint32();
  const schema = reader.text();
  const table = reader.text();
  const identity = IDENTITIES.find((known) => known === reader.peekChar()) ?? 'd';
  reader.skip(1);
  const columns: RelationColumn[] = [];
  for (let left = reader.uint16(); left > 0; left -= 1) {
    const isKey = (reader.uint8() & 1) === 1;
    const name = reader.text();
    columns.push({ isKey, name, typeOid: reader.uint32(), typeModifier: reader.uint32() | 0 });
  }
  // An empty schema name stands for pg_catalog.
  return {
    tag: 'relation',
    relation: { oid, schema: schema === '' ? 'pg_catalog' : schema, table, replicaIdentity: identity, columns },
  };
}

function decodeTruncate(reader: FrameReader): PgoutputMessage {
  const count = reader.uint32();
  const flags = reader.uint8();
  const relations = Array.from({ length: count }, () => reader.uint32());
  return { tag: 'truncate', relations, cascade: (flags & 1) !== 0, restartIdentity: (flags & 2) !== 0 };
}

function decodeLogicalMessage(reader: FrameReader): PgoutputMessage {
  const isTransactional = (reader.uint8() & 1) === 1;
  reader.skip(8);
  const prefix = reader.text();
  return { tag: 'message', isTransactional, prefix, content: reader.sized() };
}

class FrameReader {
  readonly #bytes: Buffer;
  readonly #from: number;
  readonly #end: number;
  #at: number;

  constructor(bytes: Buffer, from: number, end: number) {
    this.#bytes = bytes;
    this.#from = from;
    this.#end = end;
    this.#at = from;
  }

  /** Where so many bytes stand, which are behind it now. @throws RangeError: what follows in `bytes` is another message's. */
  skip(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    if (this.#at > this.#end) throw new RangeError('value past the end');
    return at;
  }

  uint8(): number {
    return this.#bytes.readUInt8(this.skip(1));
  }

  peekChar(): string {
    return String.fromCharCode(this.#bytes.readUInt8(this.#at));
  }

  char(): string {
    return String.fromCharCode(this.uint8());
  }

  uint16(): number {
    return this.#bytes.readUInt16BE(this.skip(2));
  }

  uint32(): number {
    return this.#bytes.readUInt32BE(this.skip(4));
  }

  lsn(): Lsn {
    return lsnOf(this.#bytes.readBigUInt64BE(this.skip(8)));
  }

  time(): bigint {
    return this.#bytes.readBigInt64BE(this.skip(8)) + POSTGRES_EPOCH_US;
  }

  text(): string {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw new RangeError('unterminated string');
    const from = this.skip(end + 1 - this.#at);
    return this.#bytes.toString('utf8', from, end);
  }

  sized(): string {
    const length = this.uint32();
    const from = this.skip(length);
    return this.#bytes.toString('utf8', from, from + length);
  }

  oldTuple(kind: string): OldTuple {
    if (kind !== 'K' && kind !== 'O') throw new RangeError(`old tuple of kind ${kind}`);
    return { kind: kind === 'K' ? 'key' : 'full', values: this.tuple() };
  }

  /** Of a large frame as text: nothing points at its bytes afterwards, so that a large row is not there twice while it is written (invariant 6). */
  tuple(): SentTuple {
    const tuple = this.#wireTuple();
    return this.#end - this.#from > LARGE_TUPLE_BYTES ? textsOf(tuple) : tuple;
  }

  #wireTuple(): WireTuple {
    const count = this.uint16();
    const start = this.#at;
    for (let left = count; left > 0; left -= 1) {
      const kind = this.uint8();
      if (kind === TEXT_KIND) this.skip(this.uint32());
      else if (kind !== NULL_KIND && kind !== UNCHANGED_KIND) throw new RangeError(`tuple value of kind ${kind}`);
    }
    return new WireTuple(this.#bytes, start, this.#at, count);
  }
}
