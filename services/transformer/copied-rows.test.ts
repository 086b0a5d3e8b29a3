import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EventEncoder } from '#core/event-encoder.ts';
import { transactionFacts } from '#core/event-tail.ts';
import { lsnOf } from '#core/lsn.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { compileTable } from '#core/rules/table-rules.ts';
import type { TableStructure } from '#core/structure.ts';
import { UNCHANGED, type TupleValue } from '#core/tuple.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';
import { joinEnvelope, splitEnvelope } from './envelope-text.ts';
import { copyOf, parseKey } from './shaped-records.ts';

const NAMES = ['id', '__proto__', 'a"b', 'c', 'é'];
const SOURCE: TableStructure = {
  ...makeTable(
    'test',
    'copied',
    NAMES.map((name, at) => makeColumn(name, at === 0 ? 'int4' : 'text')),
  ),
  identity: { kind: 'primaryKey', columns: ['id'], isFull: false },
};
const FACTS = transactionFacts(lsnOf(0x16b374d848n), 501, 1_700_000_000_123_456n);
const EVENT = { lsn: lsnOf(97n), ordinal: 3, tableOrdinal: 2, processedMs: 1_700_000_000_123 };
const ENCODER = new EventEncoder(SOURCE, SOURCE.columns, 'test', 'db', '0.1.0');

const value = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.constantFrom('"', '\\', '\n', '\u0001', ',"source":{', '"op":"d"', '\ud83d\ude00', 'x'.repeat(200)),
  fc.constant(null),
  fc.constant(UNCHANGED),
);
const rule = fc.record({
  dropColumns: fc.subarray(['c', '__proto__']),
  renameColumns: fc
    .subarray(['a"b', 'é'])
    .map((names) => new Map(names.map((name, at) => [name, at === 0 ? '__proto' : 'new,"c":'] as const))),
});

function ruleOf(extra: Partial<RuleConfig>): RuleConfig {
  const table = { schema: 'public', table: 'copied' };
  return { table, rename: null, renameColumns: new Map(), dropColumns: [], where: null, ...extra };
}

test('an event that a rule only copies values of is what the rule makes of its values', () => {
  const kinds = fc.constantFrom('c', 'u', 'moved', 'd');
  let copied = 0;
  fc.assert(
    fc.property(fc.tuple(value, value, value, value), rule, kinds, (values, extra, kind) => {
      const row: TupleValue[] = ['7', ...values.map((one) => (kind === 'c' && one === UNCHANGED ? null : one))];
      const old = ENCODER.row(['6', UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED]);
      const images =
        kind === 'd' ? ([old, 'null'] as const) : ([kind === 'moved' ? old : 'null', ENCODER.row(row)] as const);
      const envelope = Buffer.from(String(ENCODER.change(kind === 'moved' ? 'u' : kind, ...images, FACTS, EVENT)));
      const key = ENCODER.key(row) ?? '';
      const rules = compileTable(SOURCE, [ruleOf(extra)], 'out');
      const [branch] = rules.branches;
      if (branch === undefined) throw new Error('a rule gave no branch');
      const record = { offset: 1n, key: Buffer.from(key), value: envelope, headers: new Map<string, Buffer>() };
      const copy = copyOf(record, branch);
      expect(copy === null).toBe(kind === 'moved' || kind === 'd');
      if (copy === null) return;
      copied += 1;
      const { event, tail } = splitEnvelope(envelope, 'here');
      const [shaped] = rules.apply({ ...event, key: parseKey(key, 'here') }, { place: 'here' });
      if (shaped === undefined) throw new Error('a rule left an event out');
      expect(copy.toString()).toBe(String(joinEnvelope(shaped.event, tail)));
      expect(shaped.event.key).toEqual(parseKey(key, 'here'));
    }),
    { numRuns: 1000 },
  );
  expect(copied).toBeGreaterThan(100);
});

test.each([
  ['leaves rows out', { where: 'id > 10' }],
  ['renames the key', { renameColumns: new Map([['id', 'no']]) }],
  ['casts', { castColumns: new Map([['c', 'varchar(3)']]) }],
])('a rule that %s takes events apart', (_what, extra) => {
  const [branch] = compileTable(SOURCE, [ruleOf(extra)], 'out').branches;
  expect(branch?.copier).toBeNull();
});

test('a table whose old rows come whole takes events apart', () => {
  const full = { ...SOURCE, identity: { ...SOURCE.identity, isFull: true } };
  expect(compileTable(full, [ruleOf({ dropColumns: ['c'] })], 'out').branches[0]?.copier).toBeNull();
});
