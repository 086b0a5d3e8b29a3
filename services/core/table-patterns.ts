import { matchesGlob } from '#core/glob.ts';
import type { TableName } from '#core/table-name.ts';

/** What patterns match: neither part is quoted. */
export function plainName({ schema, table }: TableName): string {
  return `${schema}.${table}`;
}

/** Whether the patterns choose a table: globs over `schema.table`, `!` excludes, the last match wins. None or only exclusions: every other. */
export function isChosen(table: TableName, patterns: readonly string[]): boolean {
  let chosen = patterns.every((pattern) => pattern.startsWith('!'));
  for (const pattern of patterns) {
    const isExclude = pattern.startsWith('!');
    if (matchesGlob(globOf(pattern), plainName(table))) chosen = !isExclude;
  }
  return chosen;
}

/** Whether the patterns leave out a table by its very name. */
export function isLeftOut(table: TableName, patterns: readonly string[]): boolean {
  return patterns.includes(`!${plainName(table)}`);
}

/**
 * The patterns that match no table. Only an exclusion with `*` or `?` may match nothing: one that names its table is misspelt then, and the
 * table would be taken.
 */
export function findUnmatched(patterns: readonly string[], tables: readonly TableName[]): string[] {
  return patterns.filter((pattern) => {
    const isExclude = pattern.startsWith('!');
    if (isExclude && /[*?]/.test(globOf(pattern))) return false;
    return !tables.some((table) => matchesGlob(globOf(pattern), plainName(table)));
  });
}

/** A pattern without its `!`. */
export function globOf(pattern: string): string {
  return pattern.startsWith('!') ? pattern.slice(1) : pattern;
}
