import { expect, test } from 'vitest';
import type { Forecast } from '#core/forecast.ts';
import { describeMigration, type KnownProgress, type MigrationAnswers } from './describe-migration.ts';
import { nextRecord, type JournalEntry, type JournalRecord } from './journal.ts';
import { foldJournal, PHASES, type CopyProgress } from './state.ts';

const FORECAST: Forecast = {
  state: 'loading',
  inBytesPerSecond: 0,
  outBytesPerSecond: 0,
  eventsPerSecond: 0,
  secondsLeft: 41.2,
  limitedBy: null,
};
const PASSED: JournalEntry = { kind: 'checked', gate: 'none', blocks: [], warns: 1 };
const BLOCKED: JournalEntry = { kind: 'checked', gate: 'copy', blocks: ['source.wal_level'], warns: 0 };
const EQUAL: JournalEntry = { kind: 'verified', from: 'source', verdict: 'equal', seconds: 12.4, rows: 9 };
const PREPARED: JournalEntry = { kind: 'prepared', wayBack: true };
const PAUSED: JournalEntry = { kind: 'acted', action: 'pause', with: { services: 'sink/new' }, id: 'a' };
const ABORTED: JournalEntry = { kind: 'aborted', live: 'source', why: 'a hook failed' };
const COMPLETED: JournalEntry = { kind: 'completed', live: 'target' };

function begun(to: 'source' | 'target', wayBack = true): JournalEntry[] {
  return [
    { kind: 'begun', to, timeBoxMs: 30_000, wayBack },
    { kind: 'started', step: 'fence' },
  ];
}

function done(to: 'source' | 'target', wayBack = true): JournalEntry[] {
  return [...begun(to, wayBack), { kind: 'committed', to }, { kind: 'finished', live: to, unavailableMs: 345 }];
}

function told(
  entries: readonly JournalEntry[],
  copy: CopyProgress,
  more: Partial<KnownProgress> = {},
): MigrationAnswers {
  const records: JournalRecord[] = [];
  for (const entry of entries)
    records.push(nextRecord(records.at(-1) ?? null, entry, { at: '2026-11-28T10:00:00Z', by: 'me', term: 1 }));
  return describeMigration(foldJournal(records), { copy, isVerifying: false, forecast: FORECAST, ...more });
}

const STORY: readonly (readonly [string, MigrationAnswers, RegExp, RegExp, RegExp])[] = [
  ['NEW', told([], 'none'), /restage check/, /not known/, /the source is live/],
  ['NEW', told([BLOCKED], 'none'), /source\.wal_level.*restage check/, /not known/, /the source is live/],
  ['NEW', told([PASSED, BLOCKED], 'none'), /mended/, /not known/, /the source is live/],
  ['CHECKED', told([PASSED, PAUSED], 'none'), /restage run.*2026-11-28T10:00/, /not known/, /the source is live/],
  ['SCHEMA_READY', told([PASSED], 'structure'), /the load/, /about 42 s/, /the source is live/],
  ['COPYING', told([PASSED], 'copying'), /restage wait/, /about 42 s/, /the source is live/],
  ['STREAMING', told([PASSED], 'streaming'), /restage verify/, /about 42 s/, /the source is live/],
  [
    'STREAMING',
    told([EQUAL], 'streaming', { forecast: null }),
    /reverse.*cutover/,
    /not at work/,
    /the source is live/,
  ],
  ['VERIFYING', told([], 'streaming', { isVerifying: true }), /at work/, /it is the first/, /the source is live/],
  ['VERIFYING', told([EQUAL], 'streaming', { isVerifying: true }), /at work/, /took 12 s/, /the source is live/],
  ['READY', told([PREPARED], 'streaming'), /restage verify, then restage cutover/, /time-box/, /the source is live/],
  [
    'READY',
    told([EQUAL, PREPARED, ...begun('target'), ABORTED], 'streaming'),
    /^restage cutover$/,
    /time-box/,
    /source is live/,
  ],
  ['SWITCHING', told([PREPARED, ...begun('target')], 'streaming'), /restage cutover/, /30000 ms at most/, /^yes/],
  [
    'SWITCHING',
    told([PREPARED, ...begun('target'), { kind: 'committed', to: 'target' }], 'streaming'),
    /restage cutover goes on: finish, open, flip, follow/,
    /moments/,
    /point of no return/,
  ],
  [
    'SWITCHED',
    told(done('target'), 'streaming'),
    /rollback.*complete/,
    /as long as you like.*345 ms/,
    /^yes: restage rollback/,
  ],
  ['SWITCHED', told(done('target', false), 'streaming'), /^restage complete$/, /345 ms/, /^no: .*without a way back/],
  ['REVERSING', told([...done('target'), ...begun('source')], 'streaming'), /restage rollback/, /at most/, /^yes/],
  [
    'ROLLED_BACK',
    told([...done('target'), ...done('source')], 'streaming'),
    /cutover again/,
    /345 ms/,
    /the source is live/,
  ],
  [
    'COMPLETED',
    told([...done('target'), COMPLETED], 'streaming'),
    /nothing.*teardown/,
    /done/,
    /^no: it was completed/,
  ],
];

test('in every phase: where it is, what next, how long, and whether it can be gone back', () => {
  for (const [phase, answers, next, howLong, back] of STORY) {
    expect(answers.phase).toBe(phase);
    expect(answers.next, phase).toMatch(next);
    expect(answers.howLong, phase).toMatch(howLong);
    expect(answers.back, phase).toMatch(back);
  }
  expect([...new Set(STORY.map(([phase]) => phase))]).toEqual([...PHASES]);
});

test.each([
  ['paused', /restage resume/],
  ['caught up', /nothing is behind/],
  ['catching up', /about 42 s/],
  ['falling behind', /never/],
  ['unknown', /not known/],
] as const)('how long a stream takes that is %s', (state, howLong) => {
  expect(told([], 'streaming', { forecast: { ...FORECAST, state } }).howLong).toMatch(howLong);
});

test('where nobody was ever asked nothing is checked: a check that a person gave, or a gate, tells it', () => {
  expect(told([BLOCKED, PASSED], 'none').phase).toBe('CHECKED');
  expect(told([PAUSED], 'none').phase).toBe('NEW');
});
