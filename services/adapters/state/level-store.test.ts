import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createMemoryStore, type RowStore } from '#core/rules/row-store.ts';
import { openLevelStore } from './level-store.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'level-store-'));
  vi.stubEnv('TMPDIR', folder);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

test('it is what the one in memory is, also for keys beyond the first plane', async () => {
  const [level, memory] = [await openLevelStore(), createMemoryStore()];
  const keys = ['a', 'r0\u0000{"k":"é"}', 'r0\u0000{"k":"\u{1F600}"}', 'r0\u0000{"k":"\uFFFF"}', 'r1\u0000{}', 'z'];
  for (const store of [level, memory]) {
    await store.write(new Map(keys.map((key) => [key, `of ${key}`])));
    await store.write(new Map([['z', null]]));
  }
  for (const key of [...keys, 'none']) expect(level.get(key)).toBe(memory.get(key));
  expect((await list(level, 'r0\u0000', 'r0\u0000\uFFFF')).toSorted()).toEqual(
    (await list(memory, 'r0\u0000', 'r0\u0000\uFFFF')).toSorted(),
  );
  await level.clear('r0\u0000', 'r0\u0000\uFFFF');
  expect(await list(level, '', '\uFFFF')).toEqual(['a', 'r1\u0000{}']);
  await level.close();
});

test('what killed processes left goes, what is in use stays, and nothing is left behind', async () => {
  await mkdir(join(folder, 'restage-state-left'));
  await mkdir(join(folder, 'restage-state-4194999-left'));
  await mkdir(join(folder, 'of-others'));
  const first = await openLevelStore();
  await first.write(new Map([['k', 'v']]));
  const second = await openLevelStore();
  expect(await readdir(folder)).toHaveLength(3);
  expect(first.get('k')).toBe('v');
  await first.close();
  await second.close();
  expect(await readdir(folder)).toEqual(['of-others']);
});

test('one that a living process has just made stays, though it has no lock yet', async () => {
  const made = `restage-state-${process.pid}-made`;
  await mkdir(join(folder, made));
  const store = await openLevelStore();
  await store.close();
  expect(await readdir(folder)).toEqual([made]);
});

async function list(store: RowStore, from: string, before: string): Promise<string[]> {
  const found: string[] = [];
  for await (const key of store.keys(from, before)) found.push(key);
  return found;
}
