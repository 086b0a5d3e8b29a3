import { describe, expect, it } from 'vitest';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { Row } from '#core/envelope.ts';
import type { Branch } from '#core/rules/branch.ts';
import { requireSoundOutput } from '#core/rules/output-rules.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { compileTable, type TableRules } from '#core/rules/table-rules.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';

const columns = [
  column('id', 'int4'),
  column('amount', 'numeric'),
  column('type', 'text'),
  column('__proto__', 'text'),
];
const full = table(columns, true);
const keyed = table(columns, false);

describe('where', () => {
  const row = makeRow('1', '5');
  const hidden = makeRow('1', '-5');

  it('decides for inserts, snapshot rows and deletes by the one image that they have', () => {
    expect(
      [apply('c', null, row), apply('r', null, row), apply('d', row, null)].map((events) => events[0]?.op),
    ).toEqual(['c', 'r', 'd']);
    expect([apply('c', null, hidden), apply('r', null, hidden), apply('d', hidden, null)]).toEqual([[], [], []]);
  });

  it('decides for updates by both images', () => {
    expect(apply('u', row, makeRow('1', '6'))).toEqual([
      { op: 'u', key: { id: 1 }, before: row, after: makeRow('1', '6') },
    ]);
    expect(apply('u', row, hidden)).toEqual([{ op: 'd', key: { id: 1 }, before: row, after: null }]);
    expect(apply('u', hidden, hidden)).toEqual([]);
    const { type: _unchanged, ...partial } = row;
    expect(apply('u', hidden, partial)).toEqual([{ op: 'c', key: { id: 1 }, before: null, after: row }]);
  });

  it('leaves by the old key and enters by the new one', () => {
    const byKey = compileTable(keyed, [rule({ where: 'id > 10' })], 'out');
    const left = eventsOf(byKey, { op: 'u', key: { id: 5 }, before: { id: 11 }, after: makeRow('5', '1') });
    expect(left).toEqual([{ op: 'd', key: { id: 11 }, before: { id: 11 }, after: null }]);
    const entered = eventsOf(byKey, { op: 'u', key: { id: 11 }, before: { id: 5 }, after: makeRow('11', '1') });
    expect(entered).toEqual([{ op: 'c', key: { id: 11 }, before: null, after: makeRow('11', '1') }]);
  });

  it('fails rather than to lose an unchanged TOAST value of a row that enters', () => {
    const byKey = compileTable(keyed, [rule({ where: 'id > 10' })], 'out');
    expect(() => eventsOf(byKey, { op: 'u', key: { id: 11 }, before: { id: 5 }, after: { id: 11 } })).toThrow(
      expect.objectContaining({ code: 'rule_failed', where: expect.stringContaining('here') as string }),
    );
  });

  it('finds a toasted identity column in the key', () => {
    const wide = table([column('k', 'text'), column('v', 'text')], false, ['k']);
    const event: RowEvent = { op: 'u', key: { k: 'y' }, before: null, after: { v: 'new' } };
    expect(eventsOf(compileTable(wide, [rule({ where: 'k != "x"' })], 'out'), event)).toEqual([
      { ...event, after: { k: 'y', v: 'new' } },
    ]);
  });

  it('knows three values, as SQL does', () => {
    expect(passes('amount > 1', null, 'a')).toBe(false);
    expect(passes('!(amount > 1)', null, 'a')).toBe(false);
    expect(passes('amount != 1', null, 'a')).toBe(false);
    expect(passes('amount > 1 || type == "a"', null, 'a')).toBe(true);
    expect(passes('amount == null', null, 'a')).toBe(true);
    expect(passes('null != amount && amount > 1', '2', 'a')).toBe(true);
    expect(passes('["a", "b"].exists(x, x == type)', null, 'b')).toBe(true);
    expect(passes('["a", "b"].exists(x, x == type)', null, null)).toBe(false);
  });

  it('compares and adds numeric exactly', () => {
    expect(passes('amount + amount == 0.3', '0.15', 'a')).toBe(true);
    expect(passes('amount * 3 - 0.3 == 0', '0.1', 'a')).toBe(true);
    expect(passes('amount > 9007199254740992', '9007199254740992.00000001', 'a')).toBe(true);
    expect(passes('1 < amount', 'NaN', 'a')).toBe(true);
  });

  it('says what fails for a row, and where', () => {
    const divides = compileTable(full, [rule({ where: '10 / id > 1' })], 'out');
    expect(() =>
      divides.apply(
        { op: 'r', key: { id: 0 }, before: null, after: makeRow('0', '1') },
        { place: 'topic t, offset 7' },
      ),
    ).toThrow(expect.objectContaining({ code: 'rule_failed', where: expect.stringContaining('offset 7') as string }));
  });
});

describe('compileTable', () => {
  it('renames and drops in key, both images and the structure', () => {
    const compiled = compileTable(
      full,
      [
        rule({
          rename: { schema: 'new', table: 'sales' },
          renameColumns: new Map([
            ['id', '__proto__'],
            ['__proto__', 'note'],
          ]),
          dropColumns: ['amount'],
        }),
      ],
      'out',
    );
    const [{ shaped }] = compiled.branches as [Branch];
    expect([shaped.schema, shaped.table, shaped.topic]).toEqual(['new', 'sales', 'out.new.sales']);
    expect([shaped.identity.columns, shaped.primaryKey, shaped.columns.map(({ name }) => name)]).toEqual([
      ['__proto__'],
      ['__proto__'],
      ['__proto__', 'type', 'note'],
    ]);
    const [event] = eventsOf(
      compiled,
      { op: 'u', key: { id: 1 }, before: makeRow('1', '1'), after: makeRow('1', '2') },
      'here',
    );
    expect(JSON.stringify(event)).toBe(
      '{"op":"u","key":{"__proto__":1},"before":{"__proto__":1,"type":"t","note":"n"},"after":{"__proto__":1,"type":"t","note":"n"}}',
    );
  });

  it.each([
    ['an unknown column in where', full, { where: 'amont > 1' }, /amont.*did you mean amount/s],
    ['an expression that is not true or false', full, { where: 'id' }, /int, not a bool/],
    ['types that do not compare', full, { where: 'id == "x"' }, /int == string/],
    ['old values that the source does not send', keyed, { where: 'amount > 1' }, /REPLICA IDENTITY FULL/],
    ["a macro's variable that is a column", full, { where: '["a"].exists(type, type == "a")' }, /variable type/],
    ['an unknown column in drop', full, { dropColumns: ['tpe'] }, /did you mean type/],
    ['a dropped identity column', full, { dropColumns: ['id'] }, /identity/],
    [
      'two columns of one name',
      full,
      { renameColumns: new Map([['amount', 'type']]) },
      /two columns get the name type/,
    ],
    [
      'a column renamed and dropped',
      full,
      { renameColumns: new Map([['type', 'kind']]), dropColumns: ['type'] },
      /both renamed and dropped/,
    ],
  ])('refuses %s', (_what, structure, extra, expected) => {
    expect(() => compileTable(structure, [rule(extra)], 'out')).toThrow(
      expect.toSatisfy(
        (error: { code: string; message: string; where: string; fix?: string }) =>
          error.code === 'rule_invalid' && expected.test(`${error.message} ${error.fix ?? ''}`),
      ),
    );
  });
});

describe('requireSoundOutput', () => {
  it('refuses an unknown table, two rules for one table and two tables of one name', () => {
    const other = { ...full, table: 'sales' };
    expect(() =>
      requireSoundOutput({ rules: [rule({ table: { schema: 'public', table: 'order' } })] }, [full], 'out', null),
    ).toThrow(expect.objectContaining({ fix: 'did you mean public.orders?' }));
    expect(() => requireSoundOutput({ rules: [rule({}), rule({})] }, [full], 'out', null)).toThrow(
      'two rules name the table public.orders and give the same one',
    );
    expect(() =>
      requireSoundOutput(
        { rules: [rule({ rename: { schema: 'public', table: 'sales' } })] },
        [full, other],
        'out',
        null,
      ),
    ).toThrow('two tables get the name public.sales');
  });
});

function apply(op: RowEvent['op'], before: Row | null, after: Row | null): readonly RowEvent[] {
  const compiled = compileTable(full, [rule({ where: 'amount >= 0' })], 'out');
  return eventsOf(compiled, { op, key: { id: 1 }, before, after });
}

function passes(where: string, amount: string | null, type: string | null): boolean {
  const row = { id: 1, amount, type, ['__proto__']: 'n' };
  return (
    eventsOf(compileTable(full, [rule({ where })], 'out'), { op: 'r', key: { id: 1 }, before: null, after: row })
      .length > 0
  );
}

function makeRow(id: string, amount: string): Row {
  return { id: Number(id), amount, type: 't', ['__proto__']: 'n' };
}

function rule(extra: Partial<RuleConfig>): RuleConfig {
  return {
    table: { schema: 'public', table: 'orders' },
    rename: null,
    renameColumns: new Map(),
    dropColumns: [],
    where: null,
    ...extra,
  };
}

function table(of: readonly ColumnStructure[], isFull: boolean, key = ['id']): TableStructure {
  return {
    schema: 'public',
    table: 'orders',
    topic: 'shop.public.orders',
    columns: of,
    primaryKey: key,
    uniques: [],
    identity: { kind: isFull ? 'full' : 'primaryKey', columns: key, isFull },
  };
}

function column(name: string, typeName: string): ColumnStructure {
  return {
    name,
    typeName,
    type: typeName,
    json: typeName === 'int4' ? 'integer' : 'text',
    typeSchema: 'pg_catalog',
    modifiers: '',
    notNull: false,
    generated: false,
    identity: '',
    enumLabels: null,
  };
}

function eventsOf(rules: TableRules, event: RowEvent, place = 'here'): RowEvent[] {
  return rules.apply(event, { place }).map((one) => one.event);
}
