import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import type { RowStore } from '#core/rules/row-store.ts';

const FOLDER = 'restage-state-';
const CACHE_BYTES = 32 * 1024 * 1024;
const BUFFER_BYTES = 16 * 1024 * 1024;

/**
 * In a folder of its own among the machine's temporary ones (TMPDIR), which goes when the store is closed; those that killed processes left go
 * now. Its memory does not grow with its rows (invariant 6).
 */
export async function openLevelStore(): Promise<RowStore> {
  await removeLeft();
  const folder = await mkdtemp(join(tmpdir(), `${FOLDER}${process.pid}-`));
  const level = new ClassicLevel(folder, {
    compression: true,
    cacheSize: CACHE_BYTES,
    writeBufferSize: BUFFER_BYTES,
  });
  await level.open();
  return {
    get: (key) => level.getSync(key),
    async *keys(from, before) {
      for await (const keys of batches(level, from, before)) yield* keys;
    },
    async write(changes) {
      const batch = level.batch();
      for (const [key, value] of changes) {
        if (value === null) batch.del(key);
        else batch.put(key, value);
      }
      await batch.write();
    },
    clear: (from, before) => level.clear({ gte: from, lt: before }),
    async close() {
      await level.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const KEYS_A_BATCH = 1_000;

async function* batches(level: ClassicLevel, from: string, before: string): AsyncGenerator<readonly string[]> {
  const keys = level.keys({ gte: from, lt: before });
  try {
    for (let next = await keys.nextv(KEYS_A_BATCH); next.length > 0; next = await keys.nextv(KEYS_A_BATCH)) yield next;
  } finally {
    await keys.close();
  }
}

/** Whoever uses one holds its lock, which a killed process loses; whoever has just made one has no lock yet, but lives. */
async function removeLeft(): Promise<void> {
  const names = await readdir(tmpdir());
  for (const name of names.filter((one) => one.startsWith(FOLDER) && !isOwnerAlive(one))) {
    const folder = join(tmpdir(), name);
    try {
      await ClassicLevel.destroy(folder);
      await rm(folder, { recursive: true, force: true });
    } catch {
      // In use, or another user's.
    }
  }
}

function isOwnerAlive(folder: string): boolean {
  const owner = Number(/^\d+(?=-)/.exec(folder.slice(FOLDER.length))?.[0] ?? NaN);
  if (Number.isNaN(owner)) return false;
  try {
    return process.kill(owner, 0);
  } catch (error) {
    // EPERM: it lives, and is another user's (kill(2)).
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
