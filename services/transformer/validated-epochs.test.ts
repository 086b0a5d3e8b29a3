import { describe, expect, it } from 'vitest';
import type { ValidationCheck, ValidationConfig } from '#core/rules/validation-config.ts';
import type { TableStructure } from '#core/structure.ts';
import {
  addManifest,
  changeEntry,
  loadedHistory,
  RAW,
  rowEntry,
  SHAPED,
  textsOf,
  transformHistory,
  waitingCodes,
  type Entry,
  type MemoryHistory,
} from '../../test/harness/memory-history.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';

const plain = makeTable(RAW, 'legs', [
  makeColumn('id', 'int4'),
  makeColumn('amount', 'int8'),
  makeColumn('entry', 'int4'),
]);
const legs: TableStructure = { ...plain, identity: { ...plain.identity, isFull: true } };
const LEGS = `${SHAPED}.public.legs`;
const balanced: ValidationCheck = { kind: 'sum', column: 'amount', equals: '0', within: ['entry'] };
const STREAM = [
  [leg('c', 1, 5, 0x20, 1), leg('c', 2, -5, 0x20, 2)],
  [leg('c', 3, 5, 0x21, 1), leg('c', 4, -4, 0x21, 2)],
  [leg('u', 1, 6, 0x22, 1, 5), leg('u', 2, -6, 0x22, 2, -5)],
  [leg('u', 3, 7, 0x23, 1, 5)],
  [leg('c', 5, 900, 0x24, 1), leg('c', 6, -900, 0x24, 2)],
];

describe('sum', () => {
  it('holds back a transaction that changes it, with what touches its rows, wherever the transformer is stopped', async () => {
    const validations = [validation(balanced, 'transaction')];
    for (const epochs of [[STREAM.flat()], STREAM]) {
      const kafka = history(epochs);
      const { validation: figures } = await transformHistory(kafka, { rules: [], validations });
      expect(textsOf(kafka, LEGS)).toEqual(['c 1', 'c 2', 'u 1', 'u 2', 'c 5', 'c 6']);
      expect(waitingCodes(kafka)).toEqual(['rule_failed', 'waits', 'waits']);
      expect(figures?.checks[0]).toMatchObject({ passed: 3, failed: 1 });
      for (let stop = 1; stop < kafka.out.length; stop += 1) {
        const again = history(epochs);
        await transformHistory(again, { rules: [], validations, writes: stop });
        await transformHistory(again, { rules: [], validations });
        expect(textsOf(again, LEGS)).toEqual(textsOf(kafka, LEGS));
        expect(waitingCodes(again)).toEqual(waitingCodes(kafka));
      }
    }
  });

  it('is added up over the parts of a transaction', async () => {
    const parts = (last: number): MemoryHistory => {
      const kafka = history([]);
      const part = (number: number, isLast: boolean, entries: Entry[]): void =>
        addManifest(
          kafka,
          { kind: 'stream', epoch: 9, part: number, last: isLast, through: '0/60', lastCommit: '0/50' },
          entries,
        );
      part(1, false, [leg('c', 11, 5, 0x50, 1)]);
      part(2, false, [leg('c', 12, -2, 0x50, 2)]);
      part(3, true, [leg('c', 13, last, 0x50, 3)]);
      return kafka;
    };
    const validations = [validation(balanced, 'transaction')];
    for (const [last, given] of [
      [-3, ['c 11', 'c 12', 'c 13']],
      [-4, []],
    ] as const) {
      for (let stop = 99; stop > 0; stop = stop === 99 ? 8 : stop - 1) {
        const kafka = parts(last);
        await transformHistory(kafka, { rules: [], validations, writes: stop });
        await transformHistory(kafka, { rules: [], validations });
        expect(textsOf(kafka, LEGS)).toEqual(given);
        expect(waitingCodes(kafka)).toEqual(given.length > 0 ? [] : ['rule_failed', 'waits', 'waits']);
      }
    }
  });

  it('stops by default, and is only counted where that is said', async () => {
    await expect(
      transformHistory(history(), { rules: [], validations: [validation(balanced, 'stop')] }),
    ).rejects.toMatchObject({
      code: 'rule_failed',
    });
    const kafka = history();
    const status = await transformHistory(kafka, { rules: [], validations: [validation(balanced, 'count')] });
    expect(textsOf(kafka, LEGS)).toHaveLength(9);
    expect(status.validation?.checks[0]).toMatchObject({ passed: 3, failed: 2 });
  });
});

describe('a check of rows', () => {
  const small: ValidationCheck = { kind: 'range', column: 'amount', min: null, max: '100' };

  it('leaves out the row alone where that is said, beside a policy of whole transactions', async () => {
    const kafka = history(
      [STREAM.flat()],
      [rowEntry(legs, 1, ['50', '101', '1']), rowEntry(legs, 2, ['51', '1', '1'])],
    );
    const status = await transformHistory(kafka, {
      rules: [],
      policy: 'transaction',
      validations: [validation(small, 'row'), validation({ kind: 'notNull', columns: ['amount'] }, 'count', 'given')],
    });
    expect(textsOf(kafka, LEGS)).toEqual(['r 51', 'c 1', 'c 2', 'c 3', 'c 4', 'u 1', 'u 2', 'u 3', 'c 6']);
    expect(waitingCodes(kafka)).toEqual(['rule_failed', 'rule_failed']);
    expect(status.validation?.checks).toMatchObject([
      { name: 'it', passed: 9, failed: 2 },
      { name: 'given', passed: 11, failed: 0 },
    ]);
    expect(status.validation?.checks[0]?.examples[0]).toMatch(/offset 0: id=50, amount=101/);
  });

  it('leaves out the transaction, and counts once though the epoch was shaped twice', async () => {
    const kafka = history();
    const status = await transformHistory(kafka, { rules: [], validations: [validation(small, 'transaction')] });
    expect(textsOf(kafka, LEGS)).toEqual(['c 1', 'c 2', 'c 3', 'c 4', 'u 1', 'u 2', 'u 3']);
    expect(waitingCodes(kafka)).toEqual(['rule_failed', 'waits']);
    expect(status.validation?.checks).toMatchObject([{ passed: 7, failed: 1 }]);
  });
});

function validation(check: ValidationCheck, onFailure: ValidationConfig['onFailure'], name = 'it'): ValidationConfig {
  return { name, table: { schema: 'public', table: 'legs' }, check, onFailure };
}

function leg(op: 'c' | 'u', id: number, amount: number, commit: number, ordinal: number, before?: number): Entry {
  const values = (given: number): string[] => [String(id), String(given), '1'];
  return changeEntry(legs, op, values(amount), { commit, ordinal }, before === undefined ? null : values(before));
}

function history(epochs: readonly (readonly Entry[])[] = [STREAM.flat()], rows: readonly Entry[] = []): MemoryHistory {
  return loadedHistory([[legs, rows]], epochs);
}
