import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Builds `dist` from the sources as they are now. */
export async function buildProgram(): Promise<void> {
  const run = promisify(execFile);
  await run(process.execPath, ['infra/bundle.mjs'], { cwd: ROOT });
}
