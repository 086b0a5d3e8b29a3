import type { OutputConfig } from '#core/config.ts';
import type { Row } from '#core/envelope.ts';
import type { Branch } from '#core/rules/branch.ts';
import type { EventPlace, ReadRow } from '#core/rules/event-place.ts';
import type { UsedLookUp } from '#core/rules/look-up.ts';
import { reshape, type RowEvent } from '#core/rules/row-delta.ts';
import { keyText, mergeRows, pickColumns } from '#core/rules/rows.ts';
import type { RelationCheck } from '#core/rules/relation-check.ts';
import type { RememberedTable, RuleState } from '#core/rules/rule-state.ts';
import type { ShapedEvent, TableRules } from '#core/rules/table-rules.ts';

/** What an event of a remembered table gave. */
export interface Taken {
  /** Of its own row. */
  readonly own: readonly ShapedEvent[];
  /** Of rows that look up its row, each with its table's raw topic; null where none may. To be read before the next event. */
  readonly others: AsyncIterable<ReachedRow> | null;
  /** What is remembered now, by the rows' keys: two where its key changed. null: nothing more. */
  readonly changes: ReadonlyMap<string, string | null>;
}

/** A row that was reached through a look-up. */
export interface ReachedRow {
  readonly topic: string;
  readonly events: readonly ShapedEvent[];
}

/** A branch, and a look-up of it into some table. */
interface Dependent {
  readonly topic: string;
  readonly branch: Branch;
  readonly lookUp: UsedLookUp;
}

/** Whether an output's rules and checks need a state. */
export function needsState({ rules, validations = [] }: Pick<OutputConfig, 'rules' | 'validations'>): boolean {
  return (
    rules.some(({ lookUps = [], state }) => lookUps.length > 0 || state === true) ||
    validations.some(({ check: { kind } }) => kind === 'reference' || kind === 'unique')
  );
}

/**
 * Rules over tables that they join: an event gives what becomes of its own row, and of every row that looks its row up, as if all of them
 * were computed anew. The same events in the same order give the same.
 */
export class RuleMemory {
  readonly state: RuleState;
  /** By the raw topic of the table that is looked up. */
  #dependents = new Map<string, readonly Dependent[]>();
  /** Raw topics of tables whose rows checks ask for. */
  #referred = new Set<string>();

  constructor(state: RuleState) {
    this.state = state;
  }

  /** The newest rules and checks of every table. @throws RestageError rule_failed where the state has not what they need. */
  define(compiled: Iterable<TableRules>, checks: readonly RelationCheck[] = []): void {
    const all = [...compiled];
    const dependents = new Map<string, Dependent[]>();
    for (const { source, branches } of all)
      for (const branch of branches)
        for (const lookUp of branch.lookUps) {
          const list = dependents.get(lookUp.topic) ?? [];
          dependents.set(lookUp.topic, [...list, { topic: source.topic, branch, lookUp }]);
        }
    this.#dependents = dependents;
    this.#referred = new Set(checks.filter(({ isOfOther }) => isOfOther).map(({ remembers }) => remembers.topic));
    const ofRules = all.flatMap((rules) => rememberedOf(rules, dependents.get(rules.source.topic) ?? []));
    this.state.define(mergeTables([...ofRules, ...checks.map(({ remembers }) => remembers)]));
  }

  has(topic: string): boolean {
    return this.state.has(topic);
  }

  /** Whether other rows depend on this table's. */
  isLookedUp(topic: string): boolean {
    return this.#dependents.has(topic) || this.#referred.has(topic);
  }

  /** `isKnown`: the state has the row already, as one of a table that is read before the others. */
  take(rules: TableRules, event: RowEvent, at: EventPlace, isKnown = false): Taken {
    const { topic, identity } = rules.source;
    const [newKey, oldKey] = rowKeysOf(event, identity.columns);
    const before = oldKey === null || event.op === 'r' ? null : this.state.read(topic, oldKey);
    const now =
      event.after === null ? null : mergeRows(mergeRows(before, event.key), mergeRows(event.before, event.after));
    const changes = new Map<string, string | null>();
    const write = (key: string, row: Row | null): void => {
      changes.set(key, isKnown ? this.state.textOf(topic, row) : this.state.write(topic, key, row));
    };
    if (oldKey !== null && oldKey !== newKey) write(oldKey, null);
    const replaced = newKey === null || newKey === oldKey ? null : this.state.read(topic, newKey);
    if (newKey !== null) write(newKey, now);
    const was: ReadRow = (table, key) => {
      if (table !== topic || (key !== oldKey && key !== newKey)) return this.state.read(table, key);
      return key === oldKey ? before : replaced;
    };
    const place = { ...at, lookUp: this.state.read };
    const own = rules.isForModule ? [] : rules.apply(event, place, { row: before, before: was });
    const reached = event.op === 'r' ? [] : this.#reachedBy(topic, { oldKey, newKey, before, now });
    return {
      own,
      others: reached.length === 0 ? null : this.#reshapeAll(reached, place, was, topic, changes),
      changes,
    };
  }

  /**
   * What becomes of all rows that look up rows of these tables, after they were emptied or loaded anew. `was`: as they were before, by
   * raw topic; tables in `except` have their rows anew themselves.
   */
  async *takeAll(
    topics: ReadonlySet<string>,
    at: EventPlace,
    was: ReadRow,
    except: (dependent: string, lookedUp: string) => boolean,
  ): AsyncGenerator<ReachedRow> {
    const place = { ...at, lookUp: this.state.read };
    const branches = new Map<Branch, string>();
    for (const topic of topics)
      for (const { topic: dependent, branch } of this.#dependents.get(topic) ?? [])
        if (!except(dependent, topic)) branches.set(branch, dependent);
    for (const [branch, topic] of branches) {
      const isNew = (lookedUp: string): boolean => topics.has(lookedUp) && !except(topic, lookedUp);
      const before: ReadRow = (table, key) => (isNew(table) ? was(table, key) : this.state.read(table, key));
      for await (const key of this.state.keys(topic)) {
        const row = this.state.read(topic, key);
        if (row !== null) yield reachRow(topic, branch, row, place, { ...place, lookUp: before });
      }
    }
  }

  #reachedBy(topic: string, change: KeyChange): (Dependent & { readonly lookedUp: string })[] {
    return (this.#dependents.get(topic) ?? []).flatMap((dependent) =>
      changedKeys(change, dependent.lookUp.reads).map((lookedUp) => ({ ...dependent, lookedUp })),
    );
  }

  async *#reshapeAll(
    reachedBy: readonly (Dependent & { readonly lookedUp: string })[],
    at: EventPlace,
    was: ReadRow,
    changedTopic: string,
    changed: ReadonlyMap<string, unknown>,
  ): AsyncGenerator<ReachedRow> {
    const seen = new Map<Branch, Set<string>>();
    const isSeveral = reachedBy.length > 1;
    for (const { topic, branch, lookUp, lookedUp } of reachedBy) {
      for await (const key of this.state.dependents(topic, indexName(branch, lookUp), lookedUp)) {
        // The changed row's own event has told already what became of it.
        if (topic === changedTopic && changed.has(key)) continue;
        const done = seen.get(branch) ?? new Set();
        if (isSeveral) {
          if (done.has(key)) continue;
          seen.set(branch, done.add(key));
        }
        const row = this.state.read(topic, key);
        if (row !== null) yield reachRow(topic, branch, row, at, { ...at, lookUp: was });
      }
    }
  }
}

interface KeyChange {
  readonly oldKey: string | null;
  readonly newKey: string | null;
  readonly before: Row | null;
  readonly now: Row | null;
}

/** Of a row that other branches need more of, only what this one does: the rest did not change. */
function reachRow(topic: string, branch: Branch, row: Row, at: EventPlace, was: EventPlace): ReachedRow {
  const own = pickColumns(row, branch.remembers ?? []);
  return { topic, events: reshape(branch, own, at, was).map((event) => ({ branch, event })) };
}

/** The new row's key and the old one's. */
export function rowKeysOf(
  { op, key, before, after }: RowEvent,
  identity: readonly string[],
): [string | null, string | null] {
  const textOf = (row: Row | null): string | null => (row === null ? null : keyText(row, identity));
  const now = after === null ? null : textOf(key);
  if (op === 'c' || op === 'r') return [now, now];
  return [now, textOf(before) ?? textOf(key)];
}

/** Under which keys another row is found now, or another value of it. */
function changedKeys({ oldKey, newKey, before, now }: KeyChange, reads: readonly string[]): string[] {
  if (oldKey !== newKey) return [oldKey, newKey].filter((key) => key !== null);
  const isSame =
    before !== null && now !== null && reads.every((column) => (before[column] ?? null) === (now[column] ?? null));
  return isSame || newKey === null ? [] : [newKey];
}

function rememberedOf({ source, branches }: TableRules, dependents: readonly Dependent[]): RememberedTable[] {
  const own = branches.filter(({ remembers }) => remembers !== null);
  if (own.length === 0 && dependents.length === 0) return [];
  const columns = [
    ...dependents.flatMap(({ lookUp: { key, reads } }) => [...key, ...reads]),
    ...own.flatMap(({ remembers }) => remembers ?? []),
  ];
  const indexes = own.flatMap((branch) =>
    branch.lookUps.map((lookUp) => {
      const keysFor = (row: Row): readonly string[] => branch.keysOf(row, `topic ${source.topic}`).get(lookUp) ?? [];
      return [indexName(branch, lookUp), keysFor] as const;
    }),
  );
  const { topic, schema, table } = source;
  return [{ topic, table: { schema, table }, columns: [...new Set(columns)].toSorted(), indexes: new Map(indexes) }];
}

/** What several ask of one table is remembered once. */
function mergeTables(tables: readonly RememberedTable[]): RememberedTable[] {
  const merged = new Map<string, RememberedTable>();
  for (const table of tables) {
    const known = merged.get(table.topic) ?? table;
    const columns = [...new Set([...known.columns, ...table.columns])].toSorted();
    merged.set(table.topic, { ...known, columns, indexes: new Map([...known.indexes, ...table.indexes]) });
  }
  return [...merged.values()];
}

/** The same after a restart, and under another structure. */
function indexName({ shaped }: Branch, { as }: UsedLookUp): string {
  return JSON.stringify([shaped.schema, shaped.table, as]);
}
