import type { Image } from '#core/change.ts';
import { cellText, type Cell, type Row } from '#core/envelope.ts';
import type { JsonForm } from '#core/structure.ts';

/** PostgreSQL's text of those of some columns that the row has. */
export function imageOfColumns(row: Row, columns: readonly string[]): Image {
  const image = new Map<string, string | null>();
  for (const name of columns) if (Object.hasOwn(row, name)) image.set(name, cellText(row[name] ?? null));
  return image;
}

/** Every column of both; the second one's values where both have one. */
export function mergeRows(before: Row | null, after: Row | null): Row {
  if (before === null) return after ?? {};
  if (after === null) return before;
  // A row's key is in its new image nearly always.
  if (hasAll(after, before)) return after;
  const more = Object.entries(before).filter(([name]) => !Object.hasOwn(after, name));
  return rowFrom([...more, ...Object.entries(after)]);
}

function hasAll(row: Row, names: Row): boolean {
  for (const name in names) if (!Object.hasOwn(row, name)) return false;
  return true;
}

export function pickColumns(row: Row, columns: readonly string[]): Row {
  const picked: Record<string, Cell> = {};
  for (const name of columns) if (Object.hasOwn(row, name)) setCell(picked, name, row[name] ?? null);
  return picked;
}

export function omitColumns(row: Row, columns: readonly string[]): Row {
  return rowFrom(Object.entries(row).filter(([name]) => !columns.includes(name)));
}

export function rowFrom(entries: readonly (readonly [string, Cell])[]): Row {
  const row: Record<string, Cell> = {};
  for (const [name, cell] of entries) setCell(row, name, cell);
  return row;
}

/** An own property even for `__proto__`, which an assignment would not make one. */
export function setCell(row: Record<string, Cell>, name: string, value: Cell): void {
  if (name === '__proto__')
    Object.defineProperty(row, name, { value, enumerable: true, writable: true, configurable: true });
  else row[name] = value;
}

/** PostgreSQL's text as it stands in JSON. */
export function cellOf(text: string | null, form: JsonForm): Cell {
  if (text === null) return null;
  if (form === 'integer') return Number(text);
  return form === 'boolean' ? text === 't' || text === 'true' : text;
}

/** Equal identities give equal keys, in the order of the columns. null where the row lacks one of them. */
export function keyText(row: Row, columns: readonly string[]): string | null {
  let json = '{';
  for (const column of columns) {
    if (!Object.hasOwn(row, column)) return null;
    json += `${json.length > 1 ? ',' : ''}${JSON.stringify(column)}:${JSON.stringify(row[column])}`;
  }
  return `${json}}`;
}
