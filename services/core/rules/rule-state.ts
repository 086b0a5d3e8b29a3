import type { Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import type { ReadRow } from '#core/rules/event-place.ts';
import { pickColumns } from '#core/rules/rows.ts';
import type { RowStore } from '#core/rules/row-store.ts';
import type { TableName } from '#core/table-name.ts';

/** A captured table of whose rows rules remember something. */
export interface RememberedTable {
  /** Of its raw events. */
  readonly topic: string;
  readonly table: TableName;
  /** None: only that the row is there. */
  readonly columns: readonly string[];
  /** Keys of other rows that a row looks up, by what looks them up. */
  readonly indexes: ReadonlyMap<string, (row: Row) => readonly string[]>;
}

interface KnownTable extends RememberedTable {
  readonly number: number;
  /** Rows of earlier ones are void: the table was truncated, or loaded again. */
  readonly generation: number;
}

const SEPARATOR = '\u0000';
/** Above every text that a key may begin with. */
const END = '\uffff';
const GENERATION_DIGITS = 16;
/** An index's entry: what is asked for, and the row's key. Keys are JSON, in which no separator can stand. */
// oxlint-disable-next-line no-control-regex -- the separator is one
const INDEX_PLACE = /^(i.*\u0000)([^\u0000]*)$/s;

/**
 * What an output's rules remember of the source's rows, as of the newest event that was shaped. A row goes by its key's text. What was
 * written is seen at once; `flush` hands it to the store, when the epoch's Kafka transaction, which has the same, is committed; `rollback`
 * takes back what came since.
 */
export class RuleState {
  readonly #store: RowStore;
  readonly #tables = new Map<string, KnownTable>();
  /** As of the last `flush`. */
  readonly #generations = new Map<string, number>();
  #pending = new Map<string, string | null>();
  /** What was pending before the part since `mark`. */
  #undo: Map<string, string | null | undefined> | null = null;
  /** Pending entries of indexes, by what they are asked by. */
  #pendingByPrefix = new Map<string, Map<string, boolean>>();

  constructor(store: RowStore) {
    this.#store = store;
  }

  /** Adds tables, or says of known ones what looks up from them; their columns stay. @throws RestageError rule_failed. */
  define(tables: readonly RememberedTable[]): void {
    for (const table of tables) {
      const known = this.#tables.get(table.topic);
      if (known !== undefined && table.columns.some((column) => !known.columns.includes(column)))
        throw new RestageError('rule_failed', 'rules need more of a table than their state has', {
          where: `topic ${table.topic}: ${table.columns.filter((column) => !known.columns.includes(column)).join(', ')}`,
          fix: 'start the output anew under its next version',
        });
      const { number = this.#tables.size, generation = 0, columns = table.columns } = known ?? {};
      this.#tables.set(table.topic, { ...table, columns, number, generation });
    }
  }

  get tables(): readonly RememberedTable[] {
    return [...this.#tables.values()];
  }

  has(topic: string): boolean {
    return this.#tables.has(topic);
  }

  generationOf(topic: string): number {
    return this.#table(topic).generation;
  }

  /** The table begins anew, without rows; those of before can still be read by their generation until they are swept. */
  begin(topic: string, generation: number): void {
    this.#tables.set(topic, { ...this.#table(topic), generation });
  }

  /** The remembered columns; null where there is no such row. */
  readonly read: ReadRow = (topic, key) => this.readAt(topic, this.#table(topic).generation, key);

  readAt(topic: string, generation: number, key: string): Row | null {
    const at = rowPlace({ ...this.#table(topic), generation }, key);
    const pending = this.#pending.get(at);
    const text = pending === undefined ? this.#store.get(at) : pending;
    return text === undefined || text === null ? null : (JSON.parse(text) as Row);
  }

  /** The text that is remembered of a row. */
  textOf(topic: string, row: Row | null): string | null {
    return row === null ? null : JSON.stringify(pickColumns(row, this.#table(topic).columns));
  }

  /** The row is this now, or (null) gone. Returns the text that is remembered. */
  write(topic: string, key: string, row: Row | null): string | null {
    const table = this.#table(topic);
    const text = this.textOf(topic, row);
    if (table.indexes.size > 0) this.#index(table, key, this.read(topic, key), row);
    this.#set(rowPlace(table, key), text);
    return text;
  }

  /** As it stands on the topic of the rules' state, of whatever generation. */
  restore(topic: string, generation: number, key: string, text: string | null): void {
    const table = { ...this.#table(topic), generation };
    if (table.indexes.size > 0)
      this.#index(table, key, this.readAt(topic, generation, key), text === null ? null : (JSON.parse(text) as Row));
    this.#set(rowPlace(table, key), text);
  }

  /** Keys of a table's rows that look up this one. */
  async *dependents(topic: string, index: string, lookedUp: string): AsyncGenerator<string> {
    const prefix = indexPlace(this.#table(topic), index, lookedUp);
    const pending = new Map(this.#pendingByPrefix.get(prefix));
    for await (const at of this.#store.keys(prefix, `${prefix}${END}`)) {
      const key = at.slice(prefix.length);
      if (pending.get(key) !== false) yield key;
      pending.delete(key);
    }
    for (const [key, isThere] of pending) if (isThere) yield key;
  }

  /** Keys of all rows of a table. */
  async *keys(topic: string): AsyncGenerator<string> {
    const prefix = rowPlace(this.#table(topic), '');
    const pending = new Map([...this.#pending].filter(([at]) => at.startsWith(prefix)));
    for await (const at of this.#store.keys(prefix, `${prefix}${END}`)) {
      if (pending.get(at) !== null) yield at.slice(prefix.length);
      pending.delete(at);
    }
    for (const [at, text] of pending) if (text !== null) yield at.slice(prefix.length);
  }

  /** Forgets some void rows of earlier generations, and gives their places. */
  async sweep(topic: string, most: number): Promise<{ readonly generation: number; readonly key: string }[]> {
    const table = this.#table(topic);
    const [first, current] = [rowPlace({ ...table, generation: 0 }, ''), rowPlace(table, '')];
    const swept = new Map<string, null>();
    for await (const at of this.#store.keys(first, current)) {
      swept.set(at, null);
      if (swept.size === most) break;
    }
    if (swept.size === 0) return [];
    await this.#store.write(swept);
    if (swept.size < most) await this.#store.clear(indexesOf({ ...table, generation: 0 }), indexesOf(table));
    const head = `r${table.number}${SEPARATOR}`.length;
    return [...swept.keys()].map((at) => ({
      generation: Number(at.slice(head, head + GENERATION_DIGITS)),
      key: at.slice(head + GENERATION_DIGITS + 1),
    }));
  }

  /** How many changes wait for `flush`. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Begins a part that `undo` takes back; rows only. */
  mark(): void {
    this.#undo = new Map();
  }

  undo(): void {
    const steps = this.#undo ?? new Map<string, string | null | undefined>();
    this.#undo = null;
    for (const [at, text] of steps) {
      if (text === undefined) this.#pending.delete(at);
      else this.#pending.set(at, text);
      const [, prefix = '', key = ''] = INDEX_PLACE.exec(at) ?? [];
      if (text === undefined) this.#pendingByPrefix.get(prefix)?.delete(key);
      else if (prefix !== '') this.#pendingByPrefix.get(prefix)?.set(key, text !== null);
    }
  }

  /** As it was at the last `flush`. */
  rollback(): void {
    this.#undo = null;
    this.#pending = new Map();
    this.#pendingByPrefix = new Map();
    for (const [topic, table] of this.#tables)
      this.#tables.set(topic, { ...table, generation: this.#generations.get(topic) ?? 0 });
  }

  async flush(): Promise<void> {
    this.#undo = null;
    for (const [topic, { generation }] of this.#tables) this.#generations.set(topic, generation);
    if (this.#pending.size === 0) return;
    const changes = this.#pending;
    this.#pending = new Map();
    this.#pendingByPrefix = new Map();
    await this.#store.write(changes);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  #index(table: KnownTable, key: string, before: Row | null, now: Row | null): void {
    for (const [index, keysOf] of table.indexes) {
      const was = before === null ? [] : keysOf(before);
      const is = now === null ? [] : keysOf(now);
      for (const one of was) if (!is.includes(one)) this.#setIndex(table, index, one, key, false);
      for (const one of is) if (!was.includes(one)) this.#setIndex(table, index, one, key, true);
    }
  }

  #setIndex(table: KnownTable, index: string, lookedUp: string, key: string, isThere: boolean): void {
    const prefix = indexPlace(table, index, lookedUp);
    this.#set(`${prefix}${key}`, isThere ? '' : null);
    const known = this.#pendingByPrefix.get(prefix) ?? new Map<string, boolean>();
    known.set(key, isThere);
    this.#pendingByPrefix.set(prefix, known);
  }

  #set(at: string, text: string | null): void {
    if (this.#undo?.has(at) === false) this.#undo.set(at, this.#pending.get(at));
    this.#pending.set(at, text);
  }

  #table(topic: string): KnownTable {
    const table = this.#tables.get(topic);
    if (table === undefined) throw new RestageError('bug', 'rules remember nothing of this table', { where: topic });
    return table;
  }
}

type Generation = Pick<KnownTable, 'number' | 'generation'>;

function rowPlace({ number, generation }: Generation, key: string): string {
  return `r${number}${SEPARATOR}${digits(generation)}${SEPARATOR}${key}`;
}

function indexesOf({ number, generation }: Generation): string {
  return `i${number}${SEPARATOR}${digits(generation)}${SEPARATOR}`;
}

function indexPlace(table: Generation, index: string, lookedUp: string): string {
  return `${indexesOf(table)}${index}${SEPARATOR}${lookedUp}${SEPARATOR}`;
}

function digits(generation: number): string {
  return String(generation).padStart(GENERATION_DIGITS, '0');
}
