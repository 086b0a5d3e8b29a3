import type { OptionReader } from '#core/option-reader.ts';
import type { MaskPath } from '#core/rules/mask-options.ts';
import type { MaskKeys, MaskMethod, MaskSpec } from '#core/rules/values/mask-types.ts';
import { parseTableName } from '#core/table-text.ts';
import { tableKey, type TableName } from '#core/table-name.ts';

/** What happens to a table's columns at capture (`source.columns`). */
export interface CaptureColumns {
  readonly table: TableName;
  readonly exclude: readonly string[];
  /** By column. */
  readonly masks: ReadonlyMap<string, MaskSpec>;
}

/** Problems are reported to the reader. */
export function readCaptureColumns(reader: OptionReader): CaptureColumns[] {
  const all: CaptureColumns[] = [];
  for (let at = 0; at < reader.count('source.columns[]'); at += 1) {
    const text = reader.get('source.columns[].table', at) ?? '';
    const table = parseTableName(text);
    if (table === null) {
      if (text !== '')
        reader.report('source.columns[].table', [at], 'write it as schema.table, parts with a dot in double quotes');
      continue;
    }
    if (all.some((other) => tableKey(other.table) === tableKey(table)))
      reader.report('source.columns[].table', [at], 'a second entry for this table: make them one');
    const exclude = reader.get('source.columns[].exclude', at);
    const masks = readMasks(reader, 'source.columns[].mask.*', at);
    const both = exclude.find((column) => masks.has(column));
    if (both !== undefined)
      reader.report('source.columns[].exclude', [at], `column ${both} is both masked and left out`);
    all.push({ table, exclude, masks });
  }
  return all;
}

/** The masks below one path; `indexes` stand for its lists. */
export function readMasks(
  reader: OptionReader,
  path: MaskPath,
  ...indexes: readonly number[]
): ReadonlyMap<string, MaskSpec> {
  const masks = new Map<string, MaskSpec>();
  for (const column of reader.keys(path, ...indexes)) {
    const mask = readMask(reader, path, [...indexes, column]);
    if (mask !== null) masks.set(column, mask);
  }
  return masks;
}

export function readMaskKeys(reader: OptionReader): { readonly maskKeys?: MaskKeys } {
  const maskKeys = reader.get('masks.keys.*');
  return maskKeys === null ? {} : { maskKeys };
}

type Setting = 'key' | 'salt' | 'output' | 'keepFirst' | 'keepLast' | 'keepDomain' | 'filler' | 'value';

const TAKES: Readonly<Record<MaskMethod, readonly Setting[]>> = {
  hmac: ['key', 'output'],
  hash: ['salt', 'output'],
  partial: ['keepFirst', 'keepLast', 'keepDomain', 'filler'],
  format: ['key'],
  nullify: [],
  fixed: ['value'],
};
const SETTINGS: readonly Setting[] = [
  'key',
  'salt',
  'output',
  'keepFirst',
  'keepLast',
  'keepDomain',
  'filler',
  'value',
];

function readMask(reader: OptionReader, path: MaskPath, indexes: readonly (number | string)[]): MaskSpec | null {
  // A value that had a problem is reported already, and reads as its default: none.
  const method = reader.get(`${path}.method`, ...indexes) as MaskMethod | undefined;
  if (method === undefined) return null;
  for (const setting of SETTINGS)
    if (!TAKES[method].includes(setting) && reader.isGivenAt(`${path}.${setting}`, indexes))
      reader.report(`${path}.${setting}`, indexes, `${method} takes no ${setting}`);
  const need = (setting: 'key' | 'salt' | 'value'): string => {
    const value = reader.get(`${path}.${setting}`, ...indexes);
    if (value === null) reader.report(`${path}.method`, indexes, `${method} needs ${setting}`);
    return value ?? '';
  };
  switch (method) {
    case 'hmac':
      return { method, key: need('key'), output: reader.get(`${path}.output`, ...indexes) };
    case 'hash':
      return { method, salt: need('salt'), output: reader.get(`${path}.output`, ...indexes) };
    case 'partial':
      return {
        method,
        keepFirst: reader.get(`${path}.keepFirst`, ...indexes),
        keepLast: reader.get(`${path}.keepLast`, ...indexes),
        keepDomain: reader.get(`${path}.keepDomain`, ...indexes),
        filler: reader.get(`${path}.filler`, ...indexes),
      };
    case 'format':
      return { method, key: need('key') };
    case 'nullify':
      return { method };
    case 'fixed':
      return { method, value: need('value') };
  }
}
