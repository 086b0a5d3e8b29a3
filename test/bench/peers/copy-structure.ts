import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { query, type DatabasePair } from '../bench-servers.ts';

const run = promisify(execFile);

/** Tables and keys of the source, without rows, for peers that copy none. */
export async function copyStructure(binDir: string, pair: DatabasePair): Promise<void> {
  const { stdout } = await run(path.join(binDir, 'pg_dump'), ['--schema-only', pair.source]);
  // A newer pg_dump's \restrict is psql's, not the server's.
  await query(pair.target, stdout.replaceAll(/^\\(un)?restrict .*$/gm, ''));
}
