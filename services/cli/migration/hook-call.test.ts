import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { until } from '../../../test/harness/until.ts';
import { callHook } from './hook-call.ts';

const MESSAGE = { event: 'flip', pipeline: 'shop', target: 'new', live: 'target' } as const;

function call(script: string, timeoutMs: number): Promise<void> {
  return callHook({ command: ['sh', '-c', script], url: null, file: null, timeoutMs }, MESSAGE);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('a hook may print as much as it likes, and leave somebody behind who holds its pipe; one that hangs is ended with all that it began', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'restage-hook-'));
  const file = path.join(folder, 'pid');
  const pidOf = (): number => Number(readFileSync(file, 'utf8'));
  try {
    await call('head -c 2000000 /dev/zero', 20_000);
    await call(`sleep 60 <&0 & echo $! > ${file}`, 20_000);
    expect(isAlive(pidOf())).toBe(true);
    process.kill(pidOf());
    await expect(call(`sleep 60 & echo $! > ${file}; wait`, 1_000)).rejects.toMatchObject({
      code: 'hook_failed',
      message: expect.stringContaining('did not end within 1000 ms') as string,
    });
    await until(() => !isAlive(pidOf()), { what: 'what the hook began to be ended' });
    await expect(call('exit 3', 20_000)).rejects.toMatchObject({
      message: 'the hook failed at flip: it ended with 3',
      where: 'cutover.hook: command sh',
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
