import { expect, test } from 'vitest';
import { nextRecord, type JournalEntry, type JournalRecord } from './journal.ts';
import { entriesOf, risksOf, switchesOf, type MigrationReport } from './migration-report.ts';

function journal(...entries: JournalEntry[]): JournalRecord[] {
  const records: JournalRecord[] = [];
  for (const entry of entries)
    records.push(nextRecord(records.at(-1) ?? null, entry, { at: `t${records.length}`, by: 'me', term: 1 }));
  return records;
}

const VERIFIED: JournalEntry = { kind: 'verified', from: 'source', verdict: 'equal', seconds: 1, rows: 9 };
const BEGUN: JournalEntry = { kind: 'begun', to: 'target', timeBoxMs: 30_000, wayBack: true };
const FENCED: JournalEntry = { kind: 'done', step: 'fence', ms: 12, evidence: { side: 'source' } };

const REST: Omit<MigrationReport, 'risks' | 'audit' | 'switches'> = {
  pipeline: 'shop',
  target: 'new',
  madeAt: 't',
  phase: 'STREAMING',
  live: 'source',
  next: '',
  canGoBack: '',
  versions: { restage: '', node: '', source: '', target: '' },
  plan: [],
  tables: [],
  loadedRows: 0,
  checks: [{ id: 'a', severity: 'info', what: 'fine', evidence: '', fix: '' }],
  structure: { differences: [], columnsOnly: [] },
  rates: [],
  joined: [],
};

function risks(records: readonly JournalRecord[], more: Partial<MigrationReport> = {}): string[] {
  const report = { ...REST, ...more, audit: records, switches: switchesOf(records) };
  return risksOf(report).map(({ what }) => what);
}

test('each attempt of a switch is told: its steps, how long writes were refused, or why it was undone', () => {
  const finished: JournalEntry = { kind: 'finished', live: 'target', unavailableMs: 345 };
  const aborted: JournalEntry = { kind: 'aborted', live: 'source', why: 'a hook failed' };
  const records = journal(VERIFIED, BEGUN, aborted, BEGUN, FENCED, finished);
  expect(switchesOf(records)).toMatchObject([
    { to: 'target', steps: [], unavailableMs: null, aborted: 'a hook failed' },
    { steps: [{ name: 'fence', ms: 12, endedAt: 't4' }], unavailableMs: 345, aborted: null },
  ]);
  expect(entriesOf(records, 'verified')).toMatchObject([{ verdict: 'equal', at: 't0', by: 'me' }]);
  expect(risks(records)).toEqual([]);
});

test('what nobody has proven, and what has not ended, is an open risk', () => {
  expect(risks([])).toEqual(['the rows were never verified']);
  expect(risks(journal(VERIFIED, BEGUN, FENCED))).toEqual(['a switch to the target has not ended']);
  const repaired: JournalEntry = { kind: 'repaired', lsn: '0/1', rows: 2, tables: ['public.a'] };
  expect(risks(journal(VERIFIED, repaired))).toEqual(['rows were repaired at t1, and not verified since']);
  expect(risks(journal(VERIFIED), { structure: { missing: 'the source is away' } })).toEqual([
    'the structures were not compared: the source is away',
  ]);
});

test('of targets that are switched as one, each has risks of its own, with its name', () => {
  const other = { target: 'old', plan: [], version: '', tables: [], loadedRows: 0 };
  const structure = { differences: [], columnsOnly: [] };
  const joined = [
    { ...other, structure, audit: journal(VERIFIED) },
    { ...other, target: 'third', structure, audit: [] },
    { target: 'away', missing: 'nobody listens' },
  ];
  expect(risks(journal(VERIFIED), { joined })).toEqual([
    'third: the rows were never verified',
    'away: it could not be asked: nobody listens',
  ]);
  expect(risks([], { joined: joined.slice(0, 1) })).toEqual(['new: the rows were never verified']);
});
