import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { DatabasePair } from '../bench-servers.ts';

const run = promisify(execFile);
const JOBS = '2';

/** pg_dump, then pg_restore, two jobs each, no compression: a load without a stream behind it. */
export async function dumpAndRestore(binDir: string, pair: DatabasePair): Promise<void> {
  const dir = await mkdtemp(path.join(tmpdir(), 'restage-bench-dump-'));
  try {
    const folder = path.join(dir, 'dump');
    await run(path.join(binDir, 'pg_dump'), ['-Fd', '-Z0', '-j', JOBS, '-f', folder, pair.source]);
    await run(path.join(binDir, 'pg_restore'), ['-j', JOBS, '-d', pair.target, folder]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
