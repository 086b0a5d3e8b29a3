import { LONG_CHARACTERS, LongText } from '#core/long-text.ts';
import { ScannedImage } from '#core/image-scanner.ts';
import { textsOf, type RowValues } from '#core/row-image.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { escapeText, type CopyBuffer } from './copy-buffer.ts';

/** The statement that takes them; `columns` is not empty. */
export function copyText(table: string, columns: readonly string[]): string {
  return `COPY ${table} (${columns.map(quoteIdentifier).join(', ')}) FROM STDIN`;
}

/** Rows as COPY reads them, piece by piece as `pending` fills; what is left in it comes with the rows after, or is the last piece. */
export function* copyPieces(
  rows: Iterable<RowValues>,
  pending: CopyBuffer,
): Generator<string | Buffer, void, undefined> {
  for (const row of rows) {
    if (row instanceof ScannedImage && row.bytes <= LONG_CHARACTERS && pending.addImage(row)) {
      if (pending.isFull) yield pending.take();
      continue;
    }
    const texts = textsOf(row);
    if (texts.some(isLong)) {
      if (!pending.isEmpty) yield pending.take();
      yield* longRow(texts);
    } else pending.add(texts);
    if (pending.isFull) yield pending.take();
  }
}

function isLong(value: string | null): boolean {
  return value !== null && value.length > LONG_CHARACTERS;
}

/** The same in pieces: a large value is never there once more. */
function* longRow(row: readonly (string | null)[]): Generator<string, void, undefined> {
  for (const [index, value] of row.entries()) {
    if (index > 0) yield '\t';
    if (value === null) yield '\\N';
    else for (const piece of new LongText([value]).pieces(LONG_CHARACTERS)) yield escapeText(piece);
  }
  yield '\n';
}
