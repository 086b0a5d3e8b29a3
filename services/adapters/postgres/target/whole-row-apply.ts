import type pg from 'pg';
import type { Image, RowChange } from '#core/change.ts';
import type { ErrorCode } from '#core/errors.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { castText } from '../value-type.ts';
import { runStatement } from './long-query.ts';
import { mismatchError } from './bulk-apply.ts';
import { applyRow } from './row-apply.ts';
import { arrayLiteral, arraysOf, unnest } from './row-arrays.ts';
import type { TargetTable } from './target-table.ts';

type Removal = Extract<RowChange, { kind: 'delete' }>;
type Replacement = Extract<RowChange, { kind: 'update' }>;

/** A change that names its row by all of it. */
export type WholeRowChange = (Removal | Replacement) & { readonly before: Image };

/** Changes of a table without identity in their order, which tells nothing as long as none takes a row that another makes. */
export class WholeRowRun {
  readonly #table: TargetTable;
  readonly #made = new Set<string>();
  #changes: WholeRowChange[] = [];

  constructor(table: TargetTable) {
    this.#table = table;
  }

  /** False when it may not join those that are there; then nothing changes. */
  add(change: WholeRowChange): boolean {
    const [first] = this.#changes;
    if (first !== undefined && formOf(first) !== formOf(change)) return false;
    if (this.#made.has(rowText(this.#table, change.before))) return false;
    if (change.kind === 'update') this.#made.add(rowText(this.#table, madeBy(change)));
    this.#changes.push(change);
    return true;
  }

  /** Applies them, and begins anew. @throws RestageError `mismatch`. */
  async apply(client: pg.ClientBase, mismatch: ErrorCode): Promise<void> {
    const changes = this.#changes;
    this.#changes = [];
    this.#made.clear();
    const [first] = changes;
    if (first === undefined) return;
    if (changes.length === 1) await applyRow(client, this.#table, first, mismatch);
    else await applyWholeRows(client, this.#table, first, changes, mismatch);
  }
}

export function isWholeRow(change: RowChange): change is WholeRowChange {
  return change.kind !== 'insert' && change.before !== null && change.before.size > 0;
}

/**
 * A run in one statement, so that the table is read once: a table without identity has no index to find rows by. Of equal rows as many
 * are changed as the run says. Text tells rows apart, as row-apply does. @throws RestageError `mismatch`.
 */
async function applyWholeRows(
  client: pg.ClientBase,
  table: TargetTable,
  first: WholeRowChange,
  run: readonly WholeRowChange[],
  mismatch: ErrorCode,
): Promise<void> {
  const names = [...first.before.keys()].filter((name) => table.columns.has(name));
  const set = first.kind === 'update' ? [...first.after.keys()].filter((name) => isSettable(table, name)) : [];
  if (first.kind === 'update' && set.length === 0) return;
  const row = table.isPartitioned ? 't.tableoid, t.ctid' : 't.ctid';
  const cells = names.map((name) => cellText(`format('%s', o.${quoteIdentifier(name)})`, `o.${quoteIdentifier(name)}`));
  const keys = names.map((_, index) => cellText(`s.c${index}`, `s.c${index}`));
  const found = `
    WITH wanted AS (
      SELECT s.*, row_number() OVER (PARTITION BY key) AS place FROM (
        SELECT ${arrayOf(keys)} AS key, s.* FROM ${unnest(names.length + set.length)}) AS s),
    there AS (
      SELECT tableoid, ctid, key, row_number() OVER (PARTITION BY key) AS place FROM (
        SELECT o.tableoid, o.ctid, ${arrayOf(cells)} AS key FROM ${table.only} AS o) AS o
       WHERE key IN (SELECT key FROM wanted)),
    pairs AS (SELECT there.tableoid, there.ctid, wanted.* FROM wanted JOIN there USING (key, place))`;
  const place = table.isPartitioned ? 'pairs.tableoid, pairs.ctid' : 'pairs.ctid';
  const assigned = set.map((name, index) => {
    const column = table.columns.get(name);
    const value = `pairs.c${names.length + index}`;
    return `${quoteIdentifier(name)} = ${column === undefined ? value : castText(column, value)}`;
  });
  const text =
    first.kind === 'delete'
      ? `${found} DELETE FROM ${table.only} AS t USING pairs WHERE (${row}) = (${place})`
      : `${found} UPDATE ${table.only} AS t SET ${assigned.join(', ')} FROM pairs WHERE (${row}) = (${place})`;
  const values = [
    ...arraysOf(
      run.map(({ before }) => before),
      names,
    ),
    ...set.map((name) =>
      arrayLiteral(run.map((change) => (change.kind === 'update' ? (change.after.get(name) ?? null) : null))),
    ),
  ];
  const done = (await runStatement(client, text, values)).rowCount ?? 0;
  if (done !== run.length) throw mismatchError(mismatch, table, undefined, `${done} of ${run.length} rows were there`);
}

/** NULL and text in one; the collation of a column may hold texts equal that are not. */
function cellText(text: string, value: string): string {
  return `CASE WHEN ${value} IS DISTINCT FROM NULL THEN 'v' || ${text} COLLATE "C" ELSE 'n' END`;
}

function arrayOf(cells: readonly string[]): string {
  return `ARRAY[${cells.join(', ')}]::text[]`;
}

function isSettable(table: TargetTable, name: string): boolean {
  return table.columns.get(name)?.isAlwaysIdentity === false;
}

function formOf(change: WholeRowChange): string {
  return JSON.stringify([
    change.kind,
    [...change.before.keys()],
    change.kind === 'update' ? [...change.after.keys()] : [],
  ]);
}

function madeBy({ before, after }: WholeRowChange & Replacement): Image {
  return new Map([...before].map(([name, value]) => [name, after.get(name) ?? (after.has(name) ? null : value)]));
}

function rowText(table: TargetTable, image: Image): string {
  return JSON.stringify([...image].filter(([name]) => table.columns.has(name)).map(([, value]) => value));
}
