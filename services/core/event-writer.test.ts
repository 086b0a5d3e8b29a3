import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventEncoder, type OldRow, type RowEvent } from '#core/event-encoder.ts';
import { transactionFacts } from '#core/event-tail.ts';
import { lsnOf } from '#core/lsn.ts';
import type { ColumnStructure, JsonForm, TableStructure } from '#core/structure.ts';
import { textsOf, WireTuple, type SentTuple } from '#core/tuple.ts';

interface Column {
  readonly name: string;
  readonly json: JsonForm;
  readonly generated: boolean;
}

/** Rows of these tables are named by their first columns, in the opposite order. */
interface Table {
  readonly columns: readonly Column[];
  readonly keys: number;
}

const name = fc.oneof(
  fc.constantFrom('__proto__', 'a"b', 'c\\', 'ä', '\u{1f600}', '\n'),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
);
const column = fc.record({
  name,
  json: fc.constantFrom<JsonForm>('integer', 'boolean', 'text', 'text'),
  generated: fc.integer({ min: 0, max: 9 }).map((one) => one === 0),
});
const table = fc.record({
  columns: fc.uniqueArray(column, { minLength: 1, maxLength: 6, selector: (one) => one.name }),
  keys: fc.nat(3),
});
/** Bytes that are no UTF-8 too: a server of SQL_ASCII may send them. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.constantFrom('"', '\\', '\u0000\u001f\u007f', '\b\f\n\r\t', '\u2028', '\u{1f600}"\u{1f600}', '€'),
  fc.string({ maxLength: 20 }).map((some) => some.repeat(20)),
  fc.constant(''),
);
const bytes = fc.oneof(
  text.map((some) => Buffer.from(some)),
  fc.uint8Array({ maxLength: 8 }).map((some) => Buffer.from(some)),
);
const number = fc.integer().map(String);
const value = fc.record({ bytes, number, truth: fc.boolean(), kind: fc.nat(9) });
const values = fc.array(value, { minLength: 8, maxLength: 8 });
const facts = fc.record({
  commit: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(lsnOf),
  lsn: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(lsnOf),
  xid: fc.nat(4_294_967_295),
  ordinal: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  tableOrdinal: fc.integer({ min: 1, max: 100_000 }),
  processedMs: fc.integer({ min: 0, max: 2_000_000_000_000 }),
});

describe('an event of bytes', () => {
  it('is what one of texts is, byte for byte', () => {
    fc.assert(
      fc.property(table, values, values, facts, fc.constantFrom('key', 'full'), (made, one, other, at, kind) => {
        const encoder = encoderOf(made);
        const [sent, old] = [wireOf(made, one, null), wireOf(made, other, kind)];
        const transaction = transactionFacts(at.commit, at.xid, 1_700_000_000_123_456n);
        const both = (make: (after: SentTuple, before: OldRow) => RowEvent): void => {
          const [written, spelled] = [
            make(sent, { kind, values: old }),
            make(textsOf(sent), { kind, values: textsOf(old) }),
          ].map(plain);
          expect(written).toEqual(spelled);
        };
        both((after) => encoder.insert(after, transaction, at));
        both((after) => ({ ...encoder.snapshot(after, at.lsn, at.processedMs), isKeyChange: false }));
        both((after) => encoder.update(null, after, transaction, at));
        both((after, before) => encoder.update(before, after, transaction, at));
        both((_after, before) => encoder.delete(before, transaction, at));
      }),
      { numRuns: 500 },
    );
  });

  it('is written of what came, not of a text', () => {
    const made = { columns: [{ name: 'id', json: 'integer', generated: false }], keys: 1 } as const;
    const id = [{ bytes: Buffer.alloc(0), number: '7', truth: false, kind: 9 }];
    const event = encoderOf(made).insert(wireOf(made, id, null), transactionFacts(lsnOf(1n), 1, 0n), {
      lsn: lsnOf(1n),
      ordinal: 1,
      tableOrdinal: 1,
      processedMs: 0,
    });
    expect([Buffer.isBuffer(event.key), Buffer.isBuffer(event.value)]).toEqual([true, true]);
    expect(String(event.key)).toBe('{"id":7}');
  });
});

function plain({ key, value: written, isKeyChange }: RowEvent): unknown {
  return { key: key === null ? null : String(key), value: String(written), isKeyChange };
}

function encoderOf({ columns, keys }: Table): EventEncoder {
  const list = columns.map(structureOf);
  const named = list.slice(0, keys).map((one) => one.name);
  const structure: TableStructure = {
    schema: 'öffentlich',
    table: 'a"b',
    topic: 't',
    columns: list,
    primaryKey: named,
    uniques: [],
    identity: { kind: 'primaryKey', columns: named.toReversed(), isFull: false },
  };
  return new EventEncoder(structure, list, 'shop', 'däb', '0.1.0');
}

type Made = typeof values extends fc.Arbitrary<readonly (infer One)[]> ? One : never;

/** An old row of the key alone has nulls beside it; only a new one has values that are unchanged. */
function wireOf({ columns, keys }: Table, made: readonly Made[], old: 'key' | 'full' | null): WireTuple {
  const cells = columns.map((one, index): Buffer => {
    const { bytes: some, number: digits, truth, kind } = made[index] ?? made[0]!; // there is one at least
    if (old === 'key' && index >= keys) return Buffer.from('n');
    if (kind === 0) return Buffer.from('n');
    if (kind === 1 && old === null) return Buffer.from('u');
    // Keys that differ in what is no UTF-8 alone are the same texts.
    const sent = index < keys ? Buffer.from(String(some)) : some;
    const cell = one.json === 'text' ? sent : Buffer.from(one.json === 'integer' ? digits : truth ? 't' : 'f');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(cell.length);
    return Buffer.concat([Buffer.from('t'), length, cell]);
  });
  const frame = Buffer.concat([Buffer.from('before'), ...cells, Buffer.from('behind')]);
  return new WireTuple(frame, 6, frame.length - 6, cells.length);
}

function structureOf({ name: of, json, generated }: Column): ColumnStructure {
  return {
    name: of,
    json,
    type: 'text',
    typeSchema: 'pg_catalog',
    typeName: 'text',
    modifiers: '',
    notNull: false,
    generated,
    identity: '',
    enumLabels: null,
  };
}
