import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RecordBatchBuilder } from '#core/record-batch.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { committedRecords } from './committed-records.ts';
import { decodeBatches } from './record-batch-decoder.ts';

/** A log as a broker would have it: what producers append, and their markers. */
type Step = { readonly producer: bigint; readonly do: 'append' | 'commit' | 'abort' };

describe('committedRecords', () => {
  it('drops an aborted transaction between two committed ones of the same producer', () => {
    const log = writeLog([
      { producer: 1n, do: 'append' },
      { producer: 1n, do: 'commit' },
      { producer: 1n, do: 'append' },
      { producer: 1n, do: 'append' },
      { producer: 1n, do: 'abort' },
      { producer: 1n, do: 'append' },
      { producer: 1n, do: 'commit' },
    ]);
    expect(read(log, 0n)).toEqual(['0', '5']);
  });

  it('keeps what another producer wrote in between', () => {
    const log = writeLog([
      { producer: 1n, do: 'append' },
      { producer: 2n, do: 'append' },
      { producer: 1n, do: 'abort' },
      { producer: 2n, do: 'commit' },
    ]);
    expect(read(log, 0n)).toEqual(['1']);
  });

  it('knows an aborted transaction whose beginning lies before the fetch', () => {
    const log = writeLog([
      { producer: 1n, do: 'append' },
      { producer: 1n, do: 'append' },
      { producer: 1n, do: 'abort' },
      { producer: 1n, do: 'append' },
      { producer: 1n, do: 'commit' },
    ]);
    expect(read(log, 1n)).toEqual(['3']);
  });

  it('keeps records that belong to no transaction', () => {
    const outside = batchAt(0n, -1n, false, 'x');
    const found = committedRecords(decodeBatches(outside, 'here'), [{ producerId: -1n, firstOffset: 0n }]);
    expect(found.map((record) => record.value?.toString())).toEqual(['x']);
  });

  it('gives the committed records and no others, of any log, from any offset', () => {
    const step = fc.record({
      producer: fc.constantFrom(1n, 2n, 3n),
      do: fc.constantFrom('append' as const, 'append' as const, 'commit' as const, 'abort' as const),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(40), (steps, from) => {
        const log = writeLog(steps);
        const expected = log.committed.filter((offset) => offset >= BigInt(from)).map(String);
        expect(new Set(read(log, BigInt(from)))).toEqual(new Set(expected));
      }),
    );
  });
});

interface Log {
  readonly batches: readonly { readonly offset: bigint; readonly bytes: Buffer }[];
  readonly aborted: readonly { readonly producerId: bigint; readonly firstOffset: bigint; readonly last: bigint }[];
  readonly committed: readonly bigint[];
}

/** Every step is one record, so offsets are steps; a transaction that is open at the end is aborted there. */
function writeLog(steps: readonly Step[]): Log {
  const open = new Map<bigint, bigint[]>();
  const batches: { offset: bigint; bytes: Buffer }[] = [];
  const aborted: { producerId: bigint; firstOffset: bigint; last: bigint }[] = [];
  const committed: bigint[] = [];
  const play = (step: Step): void => {
    const offset = BigInt(batches.length);
    const { producer } = step;
    if (step.do === 'append') {
      open.set(producer, [...(open.get(producer) ?? []), offset]);
      batches.push({ offset, bytes: batchAt(offset, producer, true, String(offset)) });
      return;
    }
    const own = open.get(producer) ?? [];
    open.delete(producer);
    batches.push({ offset, bytes: markerAt(offset, producer, step.do === 'commit') });
    if (step.do === 'commit') committed.push(...own);
    else if (own[0] !== undefined) aborted.push({ producerId: producer, firstOffset: own[0], last: offset });
  };
  for (const step of steps) play(step);
  for (const producer of open.keys()) play({ producer, do: 'abort' });
  return { batches, aborted, committed };
}

/** What a fetch from `from` on brings: the batches, and the aborted transactions that reach into them, in no order. */
function read(log: Log, from: bigint): (string | undefined)[] {
  const bytes = Buffer.concat(log.batches.filter(({ offset }) => offset >= from).map((batch) => batch.bytes));
  const aborted = log.aborted.filter(({ last }) => last >= from).toReversed();
  return committedRecords(decodeBatches(bytes, 'here'), aborted).map((record) => record.value?.toString());
}

function batchAt(offset: bigint, producerId: bigint, transactional: boolean, value: string): Buffer {
  const builder = new RecordBatchBuilder();
  builder.append(null, value, NO_HEADERS);
  const batch = builder.seal({
    producerId,
    producerEpoch: 0,
    baseSequence: 0,
    timestampMs: 1,
    compress: false,
    transactional,
  });
  batch.writeBigInt64BE(offset, 0);
  return batch;
}

/** EndTransactionMarker (Kafka: KIP-98, Control Messages): key version 0 and type, value version and coordinator epoch. */
function markerAt(offset: bigint, producerId: bigint, isCommit: boolean): Buffer {
  const builder = new RecordBatchBuilder();
  builder.append(Buffer.from([0, 0, 0, isCommit ? 1 : 0]), Buffer.alloc(6), NO_HEADERS);
  const batch = builder.seal({ producerId, producerEpoch: 0, baseSequence: -1, timestampMs: 1, compress: false });
  batch.writeBigInt64BE(offset, 0);
  batch.writeInt16BE(0x30, 21);
  return batch;
}
