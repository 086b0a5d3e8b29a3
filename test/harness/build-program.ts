import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Builds `dist` from the sources as they are now. Gives the arguments of node that run it. */
export async function buildProgram(): Promise<readonly string[]> {
  await promisify(execFile)(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
    cwd: ROOT,
  });
  return ['dist/services/cli/main.js'];
}
