import type { Image } from '#core/change.ts';
import { RestageError } from '#core/errors.ts';
import { ScannedImage } from '#core/image-scanner.ts';
import { LONG_CHARACTERS, LongText, type Text } from '#core/long-text.ts';
import { columnTexts, type ColumnList } from '#core/row-image.ts';
import { formatTable, quoteIdentifier } from '#core/table-name.ts';
import { castText } from '../value-type.ts';
import { ArrayBytes, escapeElement } from './array-bytes.ts';
import type { Parameter } from './bind-message.ts';
import type { TargetColumn, TargetTable } from './target-table.ts';

/** An array constant that the server's array_in reads back (PostgreSQL: "Array Input and Output Syntax"). */
export function arrayLiteral(values: readonly (string | null)[]): Text {
  let literal = '{';
  let parts: string[] | null = null;
  for (let index = 0; index < values.length; index += 1) {
    const value = values[index];
    if (index > 0) literal += ',';
    if (value === null || value === undefined) literal += 'NULL';
    else if (value.length > LONG_CHARACTERS) {
      parts ??= [];
      parts.push(`${literal}"`);
      for (const piece of new LongText([value]).pieces(LONG_CHARACTERS)) parts.push(escapeElement(piece));
      literal = '"';
    } else literal += `"${escapeElement(value)}"`;
  }
  return parts === null ? `${literal}}` : new LongText([...parts, `${literal}}`]);
}

/** @throws RestageError target_altered. */
export function columnOf(table: TargetTable, name: string): TargetColumn {
  const column = table.columns.get(name);
  if (column !== undefined) return column;
  throw new RestageError('target_altered', 'a column is missing in the target', {
    where: `${formatTable(table.structure)}.${name}`,
    fix: 'add it to the table',
  });
}

/** `t`'s identity equals the first columns of `s`. */
export function matchKeys(table: TargetTable): string {
  return table.identity
    .map((name, index) => {
      const column = columnOf(table, name);
      return `t.${quoteIdentifier(name)} ${column.equals} ${castText(column, `s.c${index}`)}`;
    })
    .join(' AND ');
}

/** Text arrays as rows `s` of columns c0, c1 …, in the statement's first parameters; numbered from 1 in `n` where asked for. */
export function unnest(columns: number, isNumbered = false): string {
  const indexes = Array.from({ length: columns }, (_, index) => index);
  const parameters = indexes.map((index) => `$${index + 1}::text[]`).join(', ');
  const names = [...indexes.map((index) => `c${index}`), ...(isNumbered ? ['n'] : [])].join(', ');
  return `unnest(${parameters}) ${isNumbered ? 'WITH ORDINALITY ' : ''}AS s(${names})`;
}

/** Several columns' values, each a parameter of `unnest`: of values that still stand in their batch no texts are made. */
export function arraysOf(images: readonly Image[], names: readonly string[]): Parameter[] {
  // Of a large row only pieces are there twice (invariant 6).
  if (images.some((image) => isLarge(image, names)))
    return names.map((name) => arrayLiteral(columnTexts(images, name)));
  const arrays = names.map(() => new ArrayBytes(images.length));
  let columns: ColumnList | null = null;
  let places: readonly number[] = [];
  for (const image of images) {
    const found = image instanceof ScannedImage ? image.find() : null;
    if (found === null || !(image instanceof ScannedImage)) {
      for (const [index, name] of names.entries()) arrays[index]?.addText(image.get(name) ?? null);
      continue;
    }
    if (columns !== image.columns) {
      const list: ColumnList = image.columns;
      places = names.map((name) => list.indexOf(name));
      columns = list;
    }
    for (const [index, array] of arrays.entries()) {
      const place = places[index] ?? -1;
      if (place < 0) array.addText(null);
      else array.addCell(found.marks, place, found.bytes);
    }
  }
  return arrays.map((array) => array.end());
}

function isLarge(image: Image, names: readonly string[]): boolean {
  if (image instanceof ScannedImage) return image.bytes > LONG_CHARACTERS;
  return names.some((name) => (image.get(name)?.length ?? 0) > LONG_CHARACTERS);
}
