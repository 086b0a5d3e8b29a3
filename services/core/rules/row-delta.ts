import type { Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import type { Branch, ShapedRow } from '#core/rules/branch.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import { omitColumns, pickColumns } from '#core/rules/rows.ts';
import { formatTable } from '#core/table-name.ts';

/** A row event as rules see it: parsed images, `undefined` images never. */
export interface RowEvent {
  readonly op: 'c' | 'u' | 'd' | 'r';
  /** The identity's columns, of the new row where there is one; null for a table without identity. */
  readonly key: Row | null;
  readonly before: Row | null;
  readonly after: Row | null;
}

/** The source's row before and after an event; null where there was or is none. */
export interface RowPair {
  readonly op: RowEvent['op'];
  readonly old: Row | null;
  /** Unchanged values that nobody knows are absent. */
  readonly now: Row | null;
  /** Columns of `now` that the event does not carry, because they did not change. */
  readonly unchanged: readonly string[];
  /** Only the key of the old row is known, and it is the new one's. Absent is false. */
  readonly isUnmoved?: boolean;
}

/**
 * What an event is behind a branch: the rows that the branch gave of the old row against those that it gives of the new one. Rows of one key
 * are updates; what is left over enters or leaves, but one row that leaves and one that enters are one row whose key changes.
 * `was`: as other rows were before the event, where that is not as they are.
 * @throws RestageError rule_failed.
 */
export function eventsOf(
  branch: Branch,
  { op, old, now, unchanged, isUnmoved = false }: RowPair,
  at: EventPlace,
  was: EventPlace = at,
): RowEvent[] {
  const after = now === null ? [] : branch.rows(now, at);
  const [row] = after;
  // What is decided by the key alone is decided as before: the row was there.
  if (isUnmoved && was === at && row !== undefined && after.length === 1 && !branch.shaped.identity.isFull)
    return [change(branch, row, row, unchanged)];
  const before = old === null ? [] : branch.rows(old, was);
  if (op === 'r' || op === 'c') return distinct(branch, after, at.place).map((one) => enter(branch, op, one, at.place));
  return difference(branch, before, after, at.place, unchanged);
}

function difference(
  branch: Branch,
  before: readonly ShapedRow[],
  after: readonly ShapedRow[],
  place: string,
  unchanged: readonly string[],
): RowEvent[] {
  const keyless = branch.shaped.identity.columns.length === 0;
  if (keyless || (before.length === 1 && after.length === 1)) return pairUp(branch, before, after, place, unchanged);
  const known = new Map(distinct(branch, after, place).map((row) => [row.key, row]));
  const gone = before.filter(({ key }) => !known.has(key));
  const was = new Map(before.map((row) => [row.key, row]));
  const events: RowEvent[] = gone.map((row) => leave(branch, row));
  for (const row of known.values()) {
    const from = was.get(row.key);
    if (from === undefined) events.push(enter(branch, 'c', row, place));
    else if (!isSame(from.row, row.row)) events.push(change(branch, from, row, unchanged));
  }
  return events;
}

/** What becomes of a row, as it is remembered, where only looked up rows changed: nothing, where it is made of the same values. */
export function reshape(branch: Branch, row: Row, at: EventPlace, was: EventPlace): RowEvent[] {
  const [before, after] = [branch.rows(row, was), branch.rows(row, at)];
  const isUntouched =
    before.length === after.length && before.every((one, index) => isSame(one.row, after[index]?.row ?? {}));
  return isUntouched ? [] : difference(branch, before, after, at.place, []);
}

/** A branch that gives one row for a row, or none. */
function pairUp(
  branch: Branch,
  before: readonly ShapedRow[],
  after: readonly ShapedRow[],
  place: string,
  unchanged: readonly string[],
): RowEvent[] {
  const [from] = before;
  const [to] = after;
  if (from !== undefined && to !== undefined) return [change(branch, from, to, unchanged)];
  return [...before.map((row) => leave(branch, row)), ...after.map((row) => enter(branch, 'c', row, place))];
}

/** What is made of unchanged values alone did not change either, so it stays absent: such values are large. */
function change(branch: Branch, from: ShapedRow, to: ShapedRow, unchanged: readonly string[]): RowEvent {
  const { identity } = branch.shaped;
  const key = keyOf(branch, to.row);
  const before = identity.isFull ? from.row : from.key === to.key ? null : keyOf(branch, from.row);
  const absent =
    unchanged.length === 0 ? [] : branch.madeFrom(unchanged).filter((name) => !identity.columns.includes(name));
  const after = absent.length === 0 ? to.row : omitColumns(to.row, absent);
  return { op: 'u', key, before, after };
}

function leave(branch: Branch, { row }: ShapedRow): RowEvent {
  return {
    op: 'd',
    key: keyOf(branch, row),
    before: branch.shaped.identity.isFull ? row : keyOf(branch, row),
    after: null,
  };
}

/** A row that enters must be there whole (invariant 3): an absent column would become its default at the target. */
function enter(branch: Branch, op: 'c' | 'r', { row }: ShapedRow, place: string): RowEvent {
  const missing = branch.shaped.columns.filter(({ generated, name }) => !generated && !Object.hasOwn(row, name));
  if (missing.length === 0) return { op, key: keyOf(branch, row), before: null, after: row };
  throw new RestageError(
    'rule_failed',
    `a row enters the output, but its event lacks the unchanged values of ${missing.map(({ name }) => name).join(', ')}`,
    {
      where: `${place}; ${formatTable(branch.shaped)}`,
      fix: 'set REPLICA IDENTITY FULL for the source table; then start the output anew under its next version',
    },
  );
}

function keyOf(branch: Branch, row: Row): Row | null {
  const { columns } = branch.shaped.identity;
  return columns.length === 0 ? null : pickColumns(row, columns);
}

/** @throws RestageError rule_failed where one row gives two of one key. */
function distinct(branch: Branch, rows: readonly ShapedRow[], place: string): readonly ShapedRow[] {
  if (rows.length < 2 || branch.shaped.identity.columns.length === 0) return rows;
  if (new Set(rows.map(({ key }) => key)).size === rows.length) return rows;
  throw new RestageError('rule_failed', `a row gives two rows of one key in ${formatTable(branch.shaped)}`, {
    where: place,
    fix: 'add the position of the element to the key',
  });
}

function isSame(a: Row, b: Row): boolean {
  const names = Object.keys(b);
  return names.length === Object.keys(a).length && names.every((name) => Object.hasOwn(a, name) && a[name] === b[name]);
}
