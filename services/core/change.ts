import type { Position } from '#core/position.ts';

/** Columns and their PostgreSQL text. A column whose TOASTed value did not change is not in it. */
export type Image = ReadonlyMap<string, string | null>;

/** A row change as a sink applies it. `key` holds the identity's columns, empty for a table without identity. */
export type RowChange =
  | { readonly kind: 'insert'; readonly position: Position; readonly after: Image }
  /** `key` names the row as it was; `before` is the whole old row where the source sends it, else null. */
  | {
      readonly kind: 'update';
      readonly position: Position;
      readonly key: Image;
      readonly before: Image | null;
      readonly after: Image;
    }
  | { readonly kind: 'delete'; readonly position: Position; readonly key: Image; readonly before: Image | null };

/** An identity's values as one string, for maps: PostgreSQL's text has no NUL in it, so NULs part values and stand for null. */
export function imageKey(image: Image, columns: readonly string[]): string {
  const [first, ...others] = columns;
  let key = first === undefined ? '' : keyText(image.get(first));
  for (const column of others) key += `\u0000${keyText(image.get(column))}`;
  return key;
}

function keyText(value: string | null | undefined): string {
  return value ?? '\u0000n';
}
