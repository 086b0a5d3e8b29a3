import { CapturePolicy } from '#core/rules/capture-policy.ts';
import type { Config } from '#core/config.ts';
import { builtInName } from '#core/rules/values/value-types.ts';
import type { TableStructure } from '#core/structure.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { recordMd5 } from '#core/verify/record-text.ts';
import type { RowFilter } from './table-pair.ts';

/** A source row as it is expected at the target, hashed as SQL hashes the target's. */
export interface ExpectedRow {
  /** Of the whole row, and of each compared column. */
  readonly md5: string;
  readonly hashes: readonly string[];
  /** The identity's texts at the target; null for a table without one. */
  readonly key: readonly string[] | null;
  /** The same number on both sides. */
  readonly chunkOf: (chunks: number) => number;
}

/** How a table is compared of which columns are masked at capture: no SQL gives the masks, so rows are read and masked here. */
export interface MaskedSource {
  /** What `expect` takes, as a list of texts in SQL. */
  readonly texts: string;
  /** Then a row of the target does not tell which one of the source it is. */
  readonly isKeyMasked: boolean;
  /** null for a row that the filter leaves out. */
  readonly expect: (texts: readonly (string | null)[]) => ExpectedRow | null;
}

/** `columns`, `key` and `filter` by their names at the source. null for a table without masks. */
export function openMaskedSource(
  config: Config,
  structure: TableStructure,
  {
    columns,
    key,
    read,
  }: { readonly columns: readonly string[]; readonly key: readonly string[]; readonly read: readonly string[] },
  filter: RowFilter | null,
): MaskedSource | null {
  const names = [...columns, ...key, ...read];
  const mask = new CapturePolicy(config).rowMask(structure, names);
  if (mask === null) return null;
  const typeOf = (name: string): string | null => {
    const column = structure.columns.find((candidate) => candidate.name === name);
    return column === undefined ? null : builtInName(column);
  };
  const keyTypes = key.map(typeOf);
  return {
    texts: `ARRAY[${names.map(quoteIdentifier).map(outputText).join(', ')}]::text[]`,
    isKeyMasked: structure.columns.some((column) => column.mask !== undefined && key.includes(column.name)),
    expect: (texts) => {
      const masked = mask(texts);
      const row = masked.slice(0, columns.length);
      const keyValues = masked.slice(columns.length, columns.length + key.length);
      if (filter !== null && !filter.passes(masked.slice(columns.length + key.length))) return null;
      const md5 = recordMd5(row);
      const by = key.length === 0 ? md5 : recordMd5(keyValues);
      return {
        md5,
        hashes: row.map((value) => recordMd5([value])),
        key:
          key.length === 0 ? null : keyValues.map((value, index) => castToText(value ?? '', keyTypes[index] ?? null)),
        chunkOf: (chunks) => Number.parseInt(by.slice(0, 3), 16) & (chunks - 1),
      };
    },
  };
}

/** The type's own output, which events carry. */
function outputText(column: string): string {
  return `CASE WHEN ${column} IS NOT NULL THEN pg_catalog.format('%s', ${column}) END`;
}

/** A key is told as its cast to text, which differs from the output for two types. */
function castToText(text: string, type: string | null): string {
  if (type === 'bool') return text === 't' ? 'true' : 'false';
  return type === 'bpchar' ? text.replace(/ +$/, '') : text;
}
