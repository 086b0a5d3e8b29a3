import type { OptionReader } from '#core/option-reader.ts';
import { readOutbox } from '#core/outbox/outbox-load.ts';
import type { OptionPath } from '#core/option-table.ts';
import { readMaskKeys, readMasks } from '#core/rules/mask-config.ts';
import type { ComputedColumn, LookUp, RuleConfig, Unnest } from '#core/rules/rule-config.ts';
import type { TableName } from '#core/table-name.ts';
import { parseTableName } from '#core/table-text.ts';

/** The rules of one output. What is wrong is reported to the reader. */
export function readRules(reader: OptionReader, output: number): RuleConfig[] {
  const rules: RuleConfig[] = [];
  const { maskKeys = new Map() } = readMaskKeys(reader);
  for (let at = 0; at < reader.count('transform.outputs[].rules[]', output); at += 1) {
    const rename = reader.get('transform.outputs[].rules[].rename', output, at);
    const order = reader.get('transform.outputs[].rules[].columns.order', output, at);
    const cast = reader.get('transform.outputs[].rules[].columns.cast.*', output, at);
    const set = readComputed(reader, output, at);
    const keep = reader.get('transform.outputs[].rules[].columns.keep', output, at);
    const key = reader.get('transform.outputs[].rules[].key', output, at);
    const masks = readMasks(reader, 'transform.outputs[].rules[].columns.mask.*', output, at);
    const unnest = readUnnest(reader, output, at);
    const lookUps = readLookUps(reader, output, at);
    const state = reader.get('transform.outputs[].rules[].state', output, at);
    const outbox = readOutbox(reader, output, at);
    const place = reader.placeOf('transform.outputs[].rules[].table', output, at);
    rules.push({
      table: readTable(reader, 'transform.outputs[].rules[].table', output, at),
      rename: rename === null ? null : readTable(reader, 'transform.outputs[].rules[].rename', output, at),
      renameColumns: reader.get('transform.outputs[].rules[].columns.rename.*', output, at) ?? new Map(),
      dropColumns: reader.get('transform.outputs[].rules[].columns.drop', output, at),
      where: reader.get('transform.outputs[].rules[].where', output, at),
      ...(keep === null ? {} : { keepColumns: keep }),
      ...(order.length === 0 ? {} : { orderColumns: order }),
      ...(cast === null ? {} : { castColumns: cast }),
      ...(set.length === 0 ? {} : { setColumns: set }),
      ...(masks.size === 0 ? {} : { maskColumns: { specs: masks, keys: maskKeys } }),
      ...(key === null ? {} : { key }),
      ...(lookUps.length === 0 ? {} : { lookUps }),
      ...(state ? { state } : {}),
      ...(unnest === null ? {} : { unnest }),
      ...(outbox === null ? {} : { outbox }),
      ...(place === undefined ? {} : { place }),
    });
  }
  return rules;
}

function readComputed(reader: OptionReader, output: number, rule: number): ComputedColumn[] {
  const columns: ComputedColumn[] = [];
  for (let at = 0; at < reader.count('transform.outputs[].rules[].set[]', output, rule); at += 1)
    columns.push({
      column: reader.get('transform.outputs[].rules[].set[].column', output, rule, at),
      type: reader.get('transform.outputs[].rules[].set[].type', output, rule, at),
      value: reader.get('transform.outputs[].rules[].set[].value', output, rule, at),
    });
  return columns;
}

function readLookUps(reader: OptionReader, output: number, rule: number): LookUp[] {
  const lookUps: LookUp[] = [];
  for (let at = 0; at < reader.count('transform.outputs[].rules[].lookUp[]', output, rule); at += 1) {
    const on = reader.get('transform.outputs[].rules[].lookUp[].on.*', output, rule, at);
    if (on === undefined || on.size === 0)
      reader.report(
        'transform.outputs[].rules[].lookUp[].table',
        [output, rule, at],
        'a look-up needs on: { column of its key: column of this row }',
      );
    const place = reader.placeOf('transform.outputs[].rules[].lookUp[].table', output, rule, at);
    lookUps.push({
      as: reader.get('transform.outputs[].rules[].lookUp[].as', output, rule, at),
      table: readTable(reader, 'transform.outputs[].rules[].lookUp[].table', output, rule, at),
      on: on ?? new Map(),
      ...(place === undefined ? {} : { place }),
    });
  }
  return lookUps;
}

function readUnnest(reader: OptionReader, output: number, rule: number): Unnest | null {
  const column = reader.get('transform.outputs[].rules[].unnest.column', output, rule);
  const position = reader.get('transform.outputs[].rules[].unnest.position', output, rule);
  const as = reader.get('transform.outputs[].rules[].unnest.as', output, rule);
  if (column !== null) return { column, as, position };
  const isGiven = reader.isGiven(`transform.outputs[${output}].rules[${rule}].unnest`);
  if (isGiven) reader.report('transform.outputs[].rules[].unnest.column', [output, rule], 'unnest needs a column');
  return null;
}

function readTable(
  reader: OptionReader,
  path: Extract<OptionPath, `transform.outputs[].rules[].${'table' | 'rename' | 'lookUp[].table'}`>,
  ...indexes: readonly number[]
): TableName {
  const text = reader.get(path, ...indexes) ?? '';
  const name = parseTableName(text);
  if (name === null && text !== '')
    reader.report(path, indexes, 'write it as schema.table, parts with a dot in double quotes');
  return name ?? { schema: '', table: '' };
}
