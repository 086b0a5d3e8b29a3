import type { Branch } from '#core/rules/branch.ts';
import { byTarget } from '#core/rules/output-rules.ts';
import type { TableRules } from '#core/rules/table-rules.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import type { TableName } from '#core/table-name.ts';

/** Rows of the source that one row of the target may stand for: nothing in the structures keeps their keys apart. */
export interface KeyMeeting {
  readonly targetTable: TableName;
  /** The rule's, in the file; undefined where none of them names its place. */
  readonly place: string | undefined;
  /** One table whose rows have a key more than once, or two that have keys in common; with the columns that the key is copied from. */
  readonly sides: readonly KeySide[];
  /** Some of the rows do not pass the rules' where. */
  readonly isFiltered: boolean;
}

export interface KeySide {
  readonly source: TableStructure;
  readonly columns: readonly string[];
}

/**
 * Where the key at the target is copied from columns of the source alone, so that the source can be asked. Computed and masked keys, and those
 * of a module, are their authors' to keep apart.
 */
export function findKeyMeetings(compiled: readonly TableRules[]): KeyMeeting[] {
  const meetings: KeyMeeting[] = [];
  for (const sides of byTarget(compiled.filter(({ isForModule }) => !isForModule)).values()) {
    const copied = sides.flatMap(({ source, branch }) => {
      const { identity } = branch.shaped;
      const names = identity.columns.map((column) => sourceOf(column, source.columns, branch));
      const columns = names.filter((name) => name !== null);
      const isAlone = branch.rule !== null && branch.rule.unnest == null && columns.length === names.length;
      return isAlone && names.length > 0 ? [{ source, columns, branch }] : [];
    });
    for (const [at, side] of copied.entries()) {
      const { shaped, rule } = side.branch;
      const about = { targetTable: { schema: shaped.schema, table: shaped.table }, place: rule?.place };
      const isFiltered = rule?.where != null;
      if (!isUnique(side)) meetings.push({ ...about, sides: [side], isFiltered });
      for (const other of copied.slice(at + 1))
        meetings.push({ ...about, sides: [side, other], isFiltered: isFiltered || other.branch.rule?.where != null });
    }
  }
  return meetings;
}

/** The column of the source that is copied to one of the target; null where none is. */
function sourceOf(column: string, columns: readonly ColumnStructure[], branch: Pick<Branch, 'nameOf'>): string | null {
  return columns.find(({ name }) => branch.nameOf(name) === column)?.name ?? null;
}

function isUnique({ source, columns }: KeySide): boolean {
  const keys = [source.primaryKey, ...source.uniques, source.identity.isFull ? [] : source.identity.columns];
  return keys.some((key) => key.length > 0 && key.every((column) => columns.includes(column)));
}
