import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Row } from '#core/envelope.ts';
import { findRuleProblems } from '#core/rules/output-rules.ts';
import { createMemoryStore } from '#core/rules/row-store.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { RuleMemory, type ReachedRow } from '#core/rules/rule-memory.ts';
import { RuleState } from '#core/rules/rule-state.ts';
import { compileTable, type ShapedEvent, type TableRules } from '#core/rules/table-rules.ts';
import type { TableStructure } from '#core/structure.ts';
import { makeColumn, makeTable } from '../../../test/harness/structures.ts';

const customers = keyed('customers', [
  makeColumn('id', 'int4'),
  makeColumn('name', 'text'),
  makeColumn('tier', 'text'),
]);
const orders = keyed('orders', [
  makeColumn('id', 'int4'),
  makeColumn('customer_id', 'int8'),
  makeColumn('note', 'text'),
  makeColumn('tags', '_int4', { json: 'text', type: 'integer[]', element: { schema: 'pg_catalog', name: 'int4' } }),
]);
const people = keyed('people', [makeColumn('id', 'int4'), makeColumn('boss', 'int4'), makeColumn('name', 'text')]);
const CAPTURED = [customers, orders, people];

const ON_CUSTOMER = [{ as: 'customer', table: named('customers'), on: new Map([['id', 'customer_id']]) }];
const RULES: readonly RuleConfig[] = [
  // Only the looked up column changes with the customer; the note is not remembered.
  rule('orders', { lookUps: ON_CUSTOMER, setColumns: [text('customer', 'customer.name + "/" + string(id)')] }),
  // Whether there is a row depends on the customer.
  rule('orders', { rename: named('gold'), lookUps: ON_CUSTOMER, where: 'customer.tier == "gold" || customer == null' }),
  // A row an element, each with a row of its own; the key depends on what is looked up.
  rule('orders', {
    rename: named('tagged'),
    keepColumns: ['id', 'n'],
    unnest: { column: 'tags', as: 'tag', position: 'n' },
    lookUps: [{ as: 'tagger', table: named('customers'), on: new Map([['id', 'tag']]) }],
    setColumns: [text('tagger', 'tagger.tier == null ? "none" : tagger.tier')],
    key: ['id', 'n', 'tagger'],
  }),
  rule('customers', {}),
  rule('people', {
    lookUps: [{ as: 'chief', table: named('people'), on: new Map([['id', 'boss']]) }],
    setColumns: [text('chief', 'chief.name')],
  }),
];

describe('look-ups', () => {
  it('follow both tables, whatever changes, as if every row were computed anew', async () => {
    expect(findRuleProblems(RULES, CAPTURED, 'out').map(({ message }) => message)).toEqual([]);
    await fc.assert(
      fc.asyncProperty(fc.array(step(), { maxLength: 40 }), async (steps) => {
        const world = new World(RULES);
        for (const one of steps) {
          await world.take(one);
          expect(world.target).toEqual(world.recomputed());
        }
      }),
      { numRuns: 300 },
    );
  });

  it('come with what they change alone, and not at all where nothing changes', async () => {
    const world = new World(RULES);
    await world.take({ kind: 'put', table: 'customers', row: { id: 1, name: 'a', tier: 'gold' } });
    await world.take({ kind: 'put', table: 'orders', row: { id: 7, customer_id: '1', note: 'n', tags: null } });
    const events = await world.take({ kind: 'put', table: 'customers', row: { id: 1, name: 'b', tier: 'gold' } });
    expect(events.map(({ branch: { shaped }, event }) => [shaped.table, event])).toEqual([
      ['customers', { op: 'u', key: { id: 1 }, before: null, after: { id: 1, name: 'b', tier: 'gold' } }],
      ['orders', { op: 'u', key: { id: 7 }, before: null, after: { id: 7, customer_id: '1', customer: 'b/7' } }],
    ]);
    expect(await world.take({ kind: 'put', table: 'customers', row: { id: 1, name: 'b', tier: 'gold' } })).toHaveLength(
      1,
    );
  });

  it('take back what an epoch that is given up remembered', async () => {
    const world = new World(RULES);
    await world.take({ kind: 'put', table: 'customers', row: { id: 1, name: 'a', tier: 'gold' } });
    const { state } = world.memory;
    await state.flush();
    state.write(customers.topic, '{"id":1}', { id: 1, name: 'z', tier: null });
    state.begin(orders.topic, 9);
    state.rollback();
    expect(state.read(customers.topic, '{"id":1}')).toEqual({ id: 1, name: 'a', tier: 'gold' });
    expect(state.generationOf(orders.topic)).toBe(0);
  });

  it.each([
    [{ lookUps: [{ as: 'c', table: named('custmers'), on: new Map([['id', 'customer_id']]) }] }, /not captured/],
    [{ lookUps: [{ as: 'c', table: named('customers'), on: new Map([['name', 'note']]) }] }, /by its key: id/],
    [{ lookUps: [{ as: 'c', table: named('customers'), on: new Map([['id', 'customer']]) }] }, /customer is not in/],
    [{ lookUps: [{ as: 'c', table: named('customers'), on: new Map([['id', 'note']]) }] }, /cannot be compared/],
    [
      { lookUps: [{ as: 'note', table: named('customers'), on: new Map([['id', 'customer_id']]) }] },
      /name of a column/,
    ],
    [{ lookUps: [...ON_CUSTOMER, ...ON_CUSTOMER] }, /two look-ups have the name/],
    [{ lookUps: ON_CUSTOMER, setColumns: [text('x', 'customer.nam')] }, /column nam is not in customer/],
    [{ lookUps: ON_CUSTOMER, where: 'customer' }, /customer is a row/],
  ] satisfies readonly (readonly [Partial<RuleConfig>, RegExp])[])(
    'are checked against the structures: %#',
    (extra, what) => {
      const problems = findRuleProblems([rule('orders', extra)], CAPTURED, 'out').map(({ message }) => message);
      expect(problems).toEqual([expect.stringMatching(what)]);
    },
  );
});

describe('state: true', () => {
  const filtered = rule('orders', { where: 'note != "hidden"', setColumns: [text('both', 'note + string(tags)')] });

  it('stands for the old row that the source does not send', async () => {
    expect(findRuleProblems([filtered], CAPTURED, 'out')).toEqual([
      expect.objectContaining({ fix: expect.stringContaining('state: true') as string }),
    ]);
    const rules = [{ ...filtered, state: true }];
    expect(findRuleProblems(rules, CAPTURED, 'out')).toEqual([]);
    await fc.assert(
      fc.asyncProperty(fc.array(step(), { maxLength: 30 }), async (steps) => {
        const world = new World(rules);
        for (const one of steps) {
          await world.take(one);
          expect(world.target).toEqual(world.recomputed());
        }
      }),
    );
  });
});

type Step =
  | {
      readonly kind: 'put';
      readonly table: string;
      readonly row: Row;
      readonly from?: number;
      readonly keeps?: boolean;
    }
  | { readonly kind: 'delete'; readonly table: string; readonly id: number }
  | { readonly kind: 'truncate'; readonly tables: readonly string[] }
  | { readonly kind: 'flush' };

function step(): fc.Arbitrary<Step> {
  const id = fc.integer({ min: 1, max: 3 });
  const put = (table: string, row: fc.Arbitrary<Row>): fc.Arbitrary<Step> =>
    fc.record({ kind: fc.constant('put' as const), table: fc.constant(table), row, from: id, keeps: fc.boolean() });
  return fc.oneof(
    put(
      'customers',
      fc.record({ id, name: fc.constantFrom('a', 'b', null), tier: fc.constantFrom('gold', 'tin', null) }),
    ),
    put(
      'orders',
      fc.record({
        id,
        customer_id: fc.constantFrom('1', '2', '3', null),
        note: fc.constantFrom('x', 'y', 'hidden'),
        tags: fc.constantFrom('{1,2}', '{2}', '{3,3}', null),
      }),
    ),
    put('people', fc.record({ id, boss: fc.option(id), name: fc.constantFrom('p', 'q') })),
    fc.record({ kind: fc.constant('delete' as const), table: fc.constantFrom('customers', 'orders', 'people'), id }),
    fc.record({
      kind: fc.constant('truncate' as const),
      tables: fc.constantFrom(['customers'], ['orders'], ['customers', 'orders'], ['people']),
    }),
    fc.constant({ kind: 'flush' as const }),
  );
}

/** A source, its rules, and a target that takes no event that does not fit. */
class World {
  readonly memory = new RuleMemory(new RuleState(createMemoryStore()));
  readonly #compiled: ReadonlyMap<string, TableRules>;
  readonly #rows = new Map<string, Map<number, Row>>(CAPTURED.map(({ table }) => [table, new Map()]));
  readonly target = new Map<string, Map<string, Row>>();
  #truncations = 0;

  constructor(rules: readonly RuleConfig[]) {
    this.#compiled = new Map(
      CAPTURED.map((structure) => [
        structure.table,
        compileTable(structure, rules, 'out', null, { captured: CAPTURED }),
      ]),
    );
    this.memory.define(this.#compiled.values());
    for (const { branches } of this.#compiled.values())
      for (const { shaped } of branches) this.target.set(shaped.table, new Map());
  }

  async take(one: Step): Promise<readonly ShapedEvent[]> {
    if (one.kind === 'flush') await this.memory.state.flush();
    if (one.kind === 'put') return this.#put(one);
    if (one.kind === 'truncate') return this.#truncate(one.tables);
    return one.kind === 'delete' ? this.#change(one.table, one.id, null) : [];
  }

  /** An insert, an update, or (from another row that is there) an update of the key; `keeps`: large values did not change. */
  async #put({ table, row, from, keeps = false }: Extract<Step, { kind: 'put' }>): Promise<readonly ShapedEvent[]> {
    const rows = this.#rowsOf(table);
    const isMoved = from !== undefined && rows.has(from) && !rows.has(Number(row['id']));
    const old = isMoved ? from : Number(row['id']);
    const was = rows.get(old);
    const kept =
      keeps && was !== undefined
        ? {
            ...row,
            ...pick(
              was,
              ['note', 'tags'].filter((name) => name in was),
            ),
          }
        : row;
    return this.#change(table, old, kept, keeps && was !== undefined ? ['note', 'tags'] : []);
  }

  async #change(
    table: string,
    oldId: number,
    row: Row | null,
    absent: readonly string[] = [],
  ): Promise<readonly ShapedEvent[]> {
    const rows = this.#rowsOf(table);
    const old = rows.get(oldId) ?? null;
    if (old === null && row === null) return [];
    const isMoved = old !== null && row !== null && oldId !== row['id'];
    rows.delete(oldId);
    if (row !== null) rows.set(Number(row['id']), row);
    const after =
      row === null ? null : Object.fromEntries(Object.entries(row).filter(([name]) => !absent.includes(name)));
    const event = {
      op: old === null ? ('c' as const) : row === null ? ('d' as const) : ('u' as const),
      key: { id: row?.['id'] ?? oldId },
      before: row === null || isMoved ? { id: oldId } : null,
      after,
    };
    const rules = this.#compiled.get(table);
    if (rules === undefined) throw new Error(table);
    if (!this.memory.has(rules.source.topic)) return this.#apply(rules.apply(event, { place: 'here' }));
    const { own, others } = this.memory.take(rules, event, { place: 'here' });
    return this.#apply([...own, ...(others === null ? [] : await all(others))]);
  }

  async #truncate(tables: readonly string[]): Promise<readonly ShapedEvent[]> {
    const { state } = this.memory;
    const topics = CAPTURED.filter(({ table, topic }) => tables.includes(table) && state.has(topic)).map(
      ({ topic }) => topic,
    );
    for (const table of tables) {
      this.#rowsOf(table).clear();
      for (const { branches, source } of this.#compiled.values())
        if (source.table === table) for (const { shaped } of branches) this.target.get(shaped.table)?.clear();
    }
    const before = new Map(topics.map((topic) => [topic, state.generationOf(topic)]));
    this.#truncations += 1;
    for (const topic of topics) state.begin(topic, this.#truncations);
    const was = (topic: string, key: string): Row | null =>
      state.readAt(topic, before.get(topic) ?? state.generationOf(topic), key);
    const reached = this.memory.takeAll(new Set(topics), { place: 'here' }, was, (topic) => topics.includes(topic));
    const events = this.#apply(await all(reached));
    for (const topic of topics) {
      await state.flush();
      while ((await state.sweep(topic, 2)).length > 0);
    }
    return events;
  }

  #apply(events: readonly ShapedEvent[]): readonly ShapedEvent[] {
    for (const { branch, event } of events) {
      const rows = this.target.get(branch.shaped.table);
      const keyOf = (row: Row | null): string =>
        JSON.stringify(branch.shaped.identity.columns.map((name) => row?.[name]));
      const [key, old] = [keyOf(event.key), keyOf(event.before ?? event.key)];
      const was = rows?.get(old);
      expect(was !== undefined, `${event.op} ${branch.shaped.table} ${old}`).toBe(event.op !== 'c');
      rows?.delete(old);
      if (event.after === null) continue;
      expect(rows?.has(key)).toBe(false);
      rows?.set(key, { ...was, ...event.after });
    }
    return events;
  }

  recomputed(): Map<string, Map<string, Row>> {
    const tables = new Map([...this.target.keys()].map((table) => [table, new Map<string, Row>()]));
    const lookUp = (topic: string, key: string): Row | null =>
      this.#rowsOf(topic.split('.').at(-1) ?? '').get((JSON.parse(key) as { id: number }).id) ?? null;
    for (const { source, branches } of this.#compiled.values())
      for (const branch of branches)
        for (const row of this.#rowsOf(source.table).values())
          for (const made of branch.rows(row, { place: 'anew', lookUp }))
            tables
              .get(branch.shaped.table)
              ?.set(JSON.stringify(branch.shaped.identity.columns.map((name) => made.row[name])), made.row);
    return tables;
  }

  #rowsOf(table: string): Map<number, Row> {
    const rows = this.#rows.get(table);
    if (rows === undefined) throw new Error(table);
    return rows;
  }
}

async function all(reached: AsyncIterable<ReachedRow>): Promise<ShapedEvent[]> {
  const events: ShapedEvent[] = [];
  for await (const one of reached) events.push(...one.events);
  return events;
}

function pick(row: Row, names: readonly string[]): Row {
  return Object.fromEntries(names.map((name) => [name, row[name] ?? null]));
}

function named(table: string): { schema: string; table: string } {
  return { schema: 'public', table };
}

function text(column: string, value: string): { column: string; type: string; value: string } {
  return { column, type: 'text', value };
}

/** Only keys of old rows come. */
function keyed(name: string, columns: TableStructure['columns']): TableStructure {
  return { ...makeTable('shop', name, columns), identity: { kind: 'primaryKey', columns: ['id'], isFull: false } };
}

function rule(table: string, extra: Partial<RuleConfig>): RuleConfig {
  return { table: named(table), rename: null, renameColumns: new Map(), dropColumns: [], where: null, ...extra };
}
