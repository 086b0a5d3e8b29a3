import { pino } from 'pino';
import { expect, it } from 'vitest';
import { RestageError, type ErrorCode } from './errors.ts';
import { newStatus } from './status.ts';
import { supervise } from './supervise.ts';

/** The errors of the first attempts, one after another; then all is well. Gives what happened. */
async function runThrough(codes: readonly ErrorCode[]): Promise<string[]> {
  const seen: string[] = [];
  const left = [...codes];
  const options = {
    status: newStatus('producer', ''),
    logger: pino({ level: 'silent' }),
    signal: new AbortController().signal,
    clock: () => 0,
    lease: { release: () => Promise.resolve(void seen.push('release')) },
  };
  await supervise(options, async () => {
    seen.push('attempt');
    const code = left.shift();
    if (code !== undefined) throw new RestageError(code, 'a fault');
  });
  return seen;
}

it('keeps the lease from one attempt to the next', async () => {
  expect(await runThrough(['kafka_unreachable', 'lease_lost'])).toEqual(['attempt', 'attempt', 'attempt']);
});

it('gives up the lease when fenced, and asks for it again', async () => {
  expect(await runThrough(['fenced'])).toEqual(['attempt', 'release', 'attempt']);
});

it('stops where a person is needed', async () => {
  await expect(runThrough(['slot_ahead'])).rejects.toMatchObject({ code: 'slot_ahead' });
});
