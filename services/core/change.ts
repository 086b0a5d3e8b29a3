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

/** An identity's values as one string, for maps. */
export function imageKey(image: Image, columns: readonly string[]): string {
  return JSON.stringify(columns.map((column) => image.get(column) ?? null));
}
