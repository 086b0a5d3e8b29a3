import { expect, test } from 'vitest';
import { lsnOf, type Lsn } from '#core/lsn.ts';
import { RowCase, type RowVersion } from '#core/verify/row-case.ts';

const at = (value: number): Lsn => lsnOf(BigInt(value));
const version = (xmin: number, ...hashes: string[]): RowVersion => ({ xmin: String(xmin), hashes });

test('a row that rested around the position and is equal there is cleared', () => {
  const row = new RowCase();
  row.noteSource(version(1, 'a'), at(10), at(20));
  expect(row.noteTarget(version(9, 'a'), at(25), 0)).toBeNull();
  row.noteSource(version(1, 'a'), at(30), at(40));
  expect(row.noteTarget(version(9, 'a'), at(25), 10)).toEqual({ is: 'equal' });
});

test('a position before the first read that saw the version says nothing', () => {
  const row = new RowCase();
  row.noteSource(version(1, 'a'), at(10), at(20));
  row.noteSource(version(1, 'a'), at(30), at(40));
  expect(row.noteTarget(version(9, 'b'), at(19), 0)).toBeNull();
});

test('a difference has to come back over half a second, and names its columns', () => {
  const row = new RowCase();
  const looks = [0, 250, 499, 600].map((now, index) => {
    row.noteSource(version(1, 'a', 'b'), at(100 * index), at(100 * index + 1));
    return row.noteTarget(version(9, 'a', 'x'), at(2), now);
  });
  expect(looks).toEqual([null, null, null, null]);
  row.noteSource(version(1, 'a', 'b'), at(900), at(901));
  expect(row.noteTarget(version(9, 'a', 'x'), at(2), 760)).toEqual({ is: 'different', kind: 'changed', columns: [1] });
});

test('a row that changes all the time is judged by the version that stood at the position', () => {
  const row = new RowCase();
  for (let step = 1; step <= 20; step += 1) {
    row.noteSource(version(step, `v${step}`), at(step * 10 - 1), at(step * 10));
    row.noteSource(version(step, `v${step}`), at(step * 10 + 5), at(step * 10 + 6));
  }
  expect(row.noteTarget(version(9, 'v12'), at(122), 0)).toEqual({ is: 'equal' });
});

test('between two versions nothing is judged', () => {
  const row = new RowCase();
  row.noteSource(version(1, 'a'), at(9), at(10));
  row.noteSource(version(1, 'a'), at(12), at(13));
  row.noteSource(version(2, 'b'), at(19), at(20));
  row.noteSource(version(2, 'b'), at(25), at(26));
  expect(row.noteTarget(version(9, 'zzz'), at(16), 0)).toBeNull();
});

test('a missing row', () => {
  const row = new RowCase();
  const looks = [];
  for (let step = 0; step < 8; step += 1) {
    row.noteSource(version(1, 'a'), at(step * 10 + 9), at(step * 10 + 10));
    looks.push(row.noteTarget(null, at(step * 10 + 1), step * 150));
  }
  expect(looks.at(-1) ?? looks.find((look) => look !== null)).toEqual({
    is: 'different',
    kind: 'missing',
    columns: [],
  });
});

test('an extra row is proven by the same version before and after a moment without a source row', () => {
  const row = new RowCase();
  const looks = [];
  for (let step = 1; step < 20; step += 1) {
    row.noteSource(null, at(step * 10), at(step * 10 + 1));
    looks.push(row.noteTarget(version(9, 'a'), at(step * 10 - 5), step * 150));
  }
  expect(looks.find((look) => look !== null)).toEqual({ is: 'different', kind: 'extra', columns: [] });
});

test('a row that comes and goes unseen at the source is not extra', () => {
  const row = new RowCase();
  for (let step = 1; step < 40; step += 1) {
    row.noteSource(null, at(step * 10), at(step * 10 + 1));
    expect(row.noteTarget(version(step, 'a'), at(step * 10 - 5), step * 150)).toBeNull();
  }
});
