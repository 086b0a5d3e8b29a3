import { expect, test } from 'vitest';
import type { LetterCommand, LetterOutcome } from '#core/letter-command.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import { readStreamHeaders } from '#core/record.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import {
  addManifest,
  announceEntry,
  changeEntry,
  newHistory,
  RAW,
  rowEntry,
  SHAPED,
  transformHistory,
  waitingLetters,
  type Entry,
  type MemoryHistory,
} from '../../test/harness/memory-history.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';

const sales = makeTable(RAW, 'sales', [
  makeColumn('id', 'int4'),
  makeColumn('amount', 'text'),
  makeColumn('note', 'text'),
]);
const strict = rulesWith('string(int(amount))');
const loose = rulesWith('amount');
const SALES = `${SHAPED}.public.sales`;

test('a retry of all brings what a changed rule takes, in order, with a place after all that went before', async () => {
  const kafka = await refused('row');
  expect(values(kafka)).toEqual(['c 2 2 x']);
  await answered(kafka, { policy: 'row', rules: loose });
  expect(values(kafka)).toEqual(['c 2 2 x', 'c 1 one x', 'c 3 three x', 'u 3 33 x', 'u 1 one y']);
  expect(waitingLetters(kafka).size).toBe(0);
  const made = (kafka.records.get(SALES) ?? []).map((record) => readStreamHeaders(record)?.position);
  for (const [index, position] of made.entries()) {
    const before = made[index - 1];
    if (position !== undefined && before !== undefined)
      expect([position.commit > before.commit, position.ordinal > before.ordinal]).toContain(true);
  }
  expect(kafka.out.slice(-4).map(({ manifest }) => [manifest.kind, manifest.through])).toEqual(
    Array.from({ length: 4 }, () => ['stream', '0/50']),
  );
});

test('what is refused again stays, and so does what waits behind it', async () => {
  const kafka = await refused('row');
  const outcomes = await answered(kafka, { policy: 'row', rules: strict });
  expect(outcomes.map(({ state, code }) => [state, code])).toEqual([
    ['waiting', 'rule_failed'],
    ['waiting', 'rule_failed'],
    ['waiting', 'dead_letters_wait'],
    ['waiting', 'dead_letters_wait'],
  ]);
  expect(values(kafka)).toEqual(['c 2 2 x']);
  expect(audit(kafka)).toEqual(['kept', 'kept', 'kept', 'kept']);
});

test('a value that is set stands in for the same one in what waits behind, and is in the audit', async () => {
  const kafka = await refused('row');
  const [first] = waitingLetters(kafka).all();
  const outcomes = await answered(kafka, {
    policy: 'row',
    rules: strict,
    ids: [first?.id ?? ''],
    set: { amount: '7' },
  });
  expect(outcomes.map(({ state }) => state)).toEqual(['retried', 'retried']);
  expect(values(kafka)).toEqual(['c 2 2 x', 'c 1 7 x', 'u 1 7 y']);
  const set = (kafka.records.get('shop.dlq.audit') ?? []).map(
    ({ value }) => (JSON.parse(String(value)) as { set: unknown }).set,
  );
  expect(set).toEqual([{ amount: '7' }, {}]);
});

test.each([{ id: '9' }, { amuont: '7' }])('a retry that sets %o is refused, and the letter stays', async (set) => {
  const kafka = await refused('row');
  const [first] = waitingLetters(kafka).all();
  const outcomes = await answered(kafka, { policy: 'row', rules: strict, ids: [first?.id ?? ''], set });
  expect(outcomes[0]).toMatchObject({ state: 'waiting', code: 'rule_failed' });
  expect(waitingLetters(kafka).size).toBe(4);
});

test('a dry run says what would come of it and changes nothing', async () => {
  const kafka = await refused('transaction');
  const before = kafka.out.length;
  const outcomes = await answered(kafka, { policy: 'transaction', rules: loose, isDryRun: true });
  expect(outcomes.every(({ state }) => state === 'retried')).toBe(true);
  expect(kafka.out).toHaveLength(before);
  expect(waitingLetters(kafka).size).toBe(5);
});

test.each(['transaction', 'row'] as const)(
  '%s: a retry that is cut short goes on where it was, each once',
  async (policy) => {
    const whole = await refused(policy);
    await answered(whole, { policy, rules: loose });
    for (let writes = 1; writes <= 3; writes += 1) {
      const kafka = await refused(policy);
      await answered(kafka, { policy, rules: loose, writes });
      await answered(kafka, { policy, rules: loose });
      expect(values(kafka)).toEqual(values(whole));
      expect(waitingLetters(kafka).size).toBe(0);
    }
  },
);

test.each([
  ['free', ['freed', 'rule_failed']],
  ['drop', []],
] as const)('dropped, and what waits behind is to %s', async (behind, left) => {
  const kafka = loaded([rowEntry(sales, 1, ['1', 'one', 'x'])]);
  addManifest(kafka, { kind: 'stream', through: '0/50', epoch: 1 }, [sale('u', 1, '5', 0x40, 1, 'y')]);
  await transformHistory(kafka, { rules: strict, policy: 'row' });
  const [first] = waitingLetters(kafka).all();
  await answered(kafka, { policy: 'row', rules: strict, action: 'drop', ids: [first?.id ?? ''], behind });
  expect(
    waitingLetters(kafka)
      .all()
      .map(({ code }) => code),
  ).toEqual(left.slice(0, 1));
  expect(audit(kafka)).toEqual(behind === 'drop' ? ['dropped', 'dropped'] : ['dropped']);
});

/** A row of the load and one of the stream that a cast does not take, each with a change behind it. */
async function refused(policy: QuarantinePolicy): Promise<MemoryHistory> {
  const kafka = loaded([rowEntry(sales, 1, ['1', 'one', 'x'])]);
  addManifest(kafka, { kind: 'stream', through: '0/50', epoch: 1 }, [
    sale('c', 2, '2', 0x30, 1),
    sale('c', 3, 'three', 0x31, 1),
    sale('u', 3, '33', 0x32, 1),
    ...(policy === 'transaction' ? [sale('c', 4, '4', 0x32, 2)] : []),
    sale('u', 1, 'one', 0x33, 1, 'y'),
  ]);
  await transformHistory(kafka, { rules: strict, policy });
  return kafka;
}

async function answered(
  kafka: MemoryHistory,
  {
    policy,
    rules,
    writes = 99,
    ...command
  }: Partial<LetterCommand> & { policy: QuarantinePolicy; rules: readonly RuleConfig[]; writes?: number },
): Promise<readonly LetterOutcome[]> {
  let outcomes: readonly LetterOutcome[] = [];
  await transformHistory(kafka, {
    rules,
    policy,
    writes,
    acceptsRules: true,
    commands: [
      { id: 'one', action: 'retry', ids: null, set: {}, reason: 'mended', behind: 'free', isDryRun: false, ...command },
    ],
    onAnswer: (given) => (outcomes = given),
  });
  return outcomes;
}

function rulesWith(value: string): readonly RuleConfig[] {
  const table = { schema: 'public', table: 'sales' };
  const amount = { setColumns: [{ column: 'amount', type: 'text', value }], orderColumns: ['id', 'amount'] };
  return [{ table, rename: null, renameColumns: new Map(), dropColumns: [], where: null, ...amount }];
}

function sale(op: 'c' | 'u', id: number, amount: string, commit: number, ordinal: number, note = 'x'): Entry {
  return changeEntry(sales, op, [String(id), amount, note], { commit, ordinal });
}

function loaded(rows: readonly Entry[]): MemoryHistory {
  const kafka = newHistory();
  const { schema, table, topic } = sales;
  const named = { schema, table, topic };
  addManifest(kafka, { kind: 'intent', through: '0/5' });
  addManifest(kafka, { kind: 'origin', through: '0/A', snapshot: '0/A' });
  const load = { load: 1, through: '0/A' };
  addManifest(kafka, { kind: 'plan', ...load, snapshot: '0/A', tables: [{ ...named, chunks: 1, rows: 0 }] }, [
    announceEntry(sales),
  ]);
  addManifest(kafka, { kind: 'chunk', ...load, chunk: 0, rows: rows.length, table: named }, rows);
  addManifest(kafka, { kind: 'tableEnd', ...load, snapshot: '0/A', table: named });
  addManifest(kafka, { kind: 'end', ...load, loaded: true });
  return kafka;
}

function values(kafka: MemoryHistory): string[] {
  return (kafka.records.get(SALES) ?? []).map(({ value }) => {
    const { op, after } = JSON.parse(String(value)) as { op: string; after: Record<string, unknown> };
    return [op, ...Object.values(after)].join(' ');
  });
}

function audit(kafka: MemoryHistory): string[] {
  return (kafka.records.get('shop.dlq.audit') ?? []).map(
    ({ value }) => (JSON.parse(String(value)) as { action: string }).action,
  );
}
