import { expect, test } from 'vitest';
import { RestageError } from '#core/errors.ts';
import { lsnOf } from '#core/lsn.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';
import { JoinedReader } from './joined-epochs.ts';
import type { ReadPart } from './part-reader.ts';

const MIB = 1024 * 1024;
const TABLE = makeTable('shop', 'account', [makeColumn('id', 'int4')]);

function manifestAt(index: number, extra: Partial<Manifest> = {}): StoredManifest {
  const manifest = {
    kind: 'stream',
    epoch: index,
    part: 1,
    last: true,
    control: [],
    ranges: [],
    ...extra,
  } as unknown as Manifest;
  return { offset: BigInt(index), manifest };
}

/** An insert by each epoch, of so many bytes. */
function partOf(epoch: number, bytes: number): ReadPart {
  const change = { kind: 'insert', position: { commit: lsnOf(BigInt(epoch)), ordinal: 1 }, after: new Map() } as const;
  return { groups: [{ structure: TABLE, version: 1, changes: [change] }], bytes, unusable: [] };
}

function readerOf(manifests: readonly StoredManifest[], bytes = 10): { reader: JoinedReader; read: number[] } {
  const read: number[] = [];
  const reader = new JoinedReader(manifests, ({ epoch }) => {
    read.push(epoch);
    return Promise.resolve(partOf(epoch, bytes));
  });
  return { reader, read };
}

async function epochsOf(reader: JoinedReader, from: number, mayJoin = true): Promise<number[]> {
  const { part, count } = await reader.take(from, mayJoin);
  const epochs = part.groups.flatMap(({ changes }) => changes.map(({ position }) => Number(position.commit)));
  expect(epochs).toHaveLength(count);
  return epochs;
}

test('whole epochs that wait are one step, in order, and one group a table', async () => {
  const { reader } = readerOf([0, 1, 2].map((index) => manifestAt(index)));
  const { part, count } = await reader.take(0, true);
  expect(count).toBe(3);
  expect(part).toMatchObject({ bytes: 30, groups: [{ version: 1 }] });
  expect(part.groups[0]?.changes.map(({ position }) => position.commit)).toEqual([0n, 1n, 2n]);
});

test('a step ends where more would not be faster', async () => {
  const { reader } = readerOf(
    [0, 1, 2, 3].map((index) => manifestAt(index)),
    1.5 * MIB,
  );
  expect(await epochsOf(reader, 0)).toEqual([0, 1]);
  expect(await epochsOf(reader, 2)).toEqual([2, 3]);
});

test('parts of an epoch, and epochs that are cut by a TRUNCATE, stay alone', async () => {
  const truncate = { kind: 'truncate', commit: '0/2', ordinal: 1, topics: [], cascade: false, restartIdentity: false };
  const manifests = [
    manifestAt(0),
    manifestAt(1, { last: false }),
    manifestAt(2, { part: 2 }),
    manifestAt(3, { control: [truncate] as unknown as Manifest['control'] }),
    manifestAt(4, { control: [{ kind: 'barrier', commit: '0/4', ordinal: 1, id: 'x' }] }),
    manifestAt(5),
  ];
  const { reader } = readerOf(manifests);
  const steps: number[][] = [];
  for (let at = 0; at < manifests.length; at += steps.at(-1)?.length ?? 1) steps.push(await epochsOf(reader, at));
  expect(steps).toEqual([[0], [1], [2], [3], [4, 5]]);
});

test('what may not be joined any more is read anew, alone', async () => {
  const { reader, read } = readerOf([0, 1, 2].map((index) => manifestAt(index, index === 0 ? { last: false } : {})));
  expect(await epochsOf(reader, 0)).toEqual([0]);
  expect(await epochsOf(reader, 1, false)).toEqual([1]);
  expect(await epochsOf(reader, 2, false)).toEqual([2]);
  expect(read.filter((epoch) => epoch === 1)).toHaveLength(2);
});

test('an epoch with a record that is no event is a step of its own', async () => {
  const manifests = [0, 1, 2].map((index) => manifestAt(index));
  const unusable = [{ error: new RestageError('record_invalid', 'broken') }] as unknown as ReadPart['unusable'];
  const reader = new JoinedReader(manifests, ({ epoch }) =>
    Promise.resolve(epoch === 1 ? { ...partOf(1, 10), unusable } : partOf(epoch, 10)),
  );
  expect(await epochsOf(reader, 0)).toEqual([0]);
  expect(await epochsOf(reader, 1)).toEqual([1]);
  expect(await epochsOf(reader, 2)).toEqual([2]);
});
