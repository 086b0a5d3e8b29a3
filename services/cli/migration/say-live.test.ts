import { expect, test } from 'vitest';
import { nextRecord, type JournalEntry, type JournalRecord } from '#core/migration/journal.ts';
import { describeLive, sayLive } from './say-live.ts';

function told(...entries: JournalEntry[]): string {
  const records: JournalRecord[] = [];
  for (const entry of entries) records.push(nextRecord(records.at(-1) ?? null, entry, { at: 't', by: 'me', term: 1 }));
  return describeLive(records);
}

const BEGUN: JournalEntry = { kind: 'begun', to: 'target', timeBoxMs: 30_000, wayBack: true };
const FENCE: JournalEntry = { kind: 'started', step: 'fence' };
const COMMITTED: JournalEntry = { kind: 'committed', to: 'target' };

test('whatever the journal has, it says which side is live', () => {
  expect(told()).toBe('the source is the live side');
  expect(told(BEGUN, FENCE)).toMatch(
    /^the source is the live side: .*at step fence, and is not committed; .*30000 ms$/,
  );
  expect(told(BEGUN, FENCE, { kind: 'aborted', live: 'source', why: 'a hook failed' })).toBe(
    'the source is the live side',
  );
  expect(told(BEGUN, FENCE, COMMITTED)).toMatch(/^the target is the live side: .*point of no return/);
  expect(told(BEGUN, COMMITTED, { kind: 'finished', live: 'target', unavailableMs: 3 })).toBe(
    'the target is the live side',
  );
});

test('a target that does not answer is not guessed about', async () => {
  const url = 'postgresql://127.0.0.1:1/none';
  const target = { name: 'new', url, output: null, schema: 'copy', loadWorkers: 1 } as const;
  const config = { name: 'shop', targets: [target] } as never;
  expect(await sayLive(config, target)).toMatch(/target new cannot be asked now/);
});
