import type { Image } from '#core/change.ts';
import { RestageError } from '#core/errors.ts';
import { formatTable, type TableName } from '#core/table-name.ts';
import { badRecord, formatPlace, type RecordPlace } from './bad-record.ts';
import { columnText, missingOption, ValueFault, type ColumnForm } from './column-text.ts';
import type { SourceEvent, StructDatum } from './event.ts';
import type { SourceOptions } from './options.ts';
import type { Placeholder } from './placeholder.ts';

/** A change as it is applied whatever the target holds: it says what a row is to be. Without key: exactly one row more, other or less. */
export type SourceChange = RecordPlace &
  (
    | { readonly kind: 'put'; readonly key: Image; readonly after: Image; readonly isWhole: boolean }
    | {
        readonly kind: 'move';
        readonly oldKey: Image;
        readonly key: Image;
        readonly after: Image;
        readonly isWhole: boolean;
      }
    | { readonly kind: 'remove'; readonly key: Image }
    | { readonly kind: 'add'; readonly after: Image }
    | { readonly kind: 'replace'; readonly before: Image; readonly after: Image }
    | { readonly kind: 'erase'; readonly before: Image }
  );

/** A target's table as values are written into it. */
export interface RowForm {
  readonly table: TableName;
  readonly columns: ReadonlyMap<string, ColumnForm>;
  /** Columns that the target computes: the source's values of theirs are left out. */
  readonly generated: ReadonlySet<string>;
}

export interface RowReaderOptions {
  readonly options: SourceOptions;
  readonly placeholder: Placeholder;
}

/** A row event as a change. @throws RestageError record_invalid, target_altered. */
export function changeOf(event: SourceEvent, form: RowForm, tools: RowReaderOptions): SourceChange {
  const { topic, partition, offset } = event;
  const place = { topic, partition, offset };
  const whole = (datum: StructDatum | null, what: string): Image =>
    imageOf(event, must(event, datum, what), form, tools).image;
  const key = event.key === null ? null : whole(event.key, 'key');
  switch (event.op) {
    case 'd':
      return key === null
        ? { ...place, kind: 'erase', before: whole(event.before, 'before') }
        : { ...place, kind: 'remove', key };
    case 'u': {
      const { image, isWhole } = imageOf(event, must(event, event.after, 'after'), form, tools);
      if (key !== null) return { ...place, kind: 'put', key, after: image, isWhole };
      return { ...place, kind: 'replace', before: whole(event.before, 'before'), after: image };
    }
    case 'c':
    case 'r': {
      const { image, isWhole } = imageOf(event, must(event, event.after, 'after'), form, tools);
      return key === null
        ? { ...place, kind: 'add', after: image }
        : { ...place, kind: 'put', key, after: image, isWhole };
    }
    case 't':
      throw badRecord(event, 'a TRUNCATE is no change of a row');
  }
}

/** A key alone, for a record that cannot be read; null where its values do not fit the columns either. */
export function keyImage(key: StructDatum | null, form: RowForm, { options }: RowReaderOptions): Image | null {
  if (key === null) return null;
  const image = new Map<string, string | null>();
  for (const [name, value] of key.values) {
    const column = form.columns.get(name);
    if (column === undefined) return null;
    try {
      image.set(name, columnText(column, key.schema?.fields.get(name) ?? null, value, options));
    } catch (error) {
      if (!isValueFault(error)) throw error;
      return null;
    }
  }
  return image;
}

function isValueFault(error: unknown): error is Error {
  return error instanceof ValueFault || error instanceof RangeError || error instanceof SyntaxError;
}

function must(event: SourceEvent, datum: StructDatum | null, what: string): StructDatum {
  if (datum !== null) return datum;
  const fix = what === 'before' ? 'give the table a primary key, or REPLICA IDENTITY FULL' : undefined;
  throw badRecord(event, `op ${event.op} has no ${what}`, fix);
}

/** `isWhole`: no value was left out as unchanged. */
function imageOf(
  event: SourceEvent,
  { values, schema }: StructDatum,
  form: RowForm,
  { options, placeholder }: RowReaderOptions,
): { readonly image: Image; readonly isWhole: boolean } {
  const image = new Map<string, string | null>();
  let isWhole = true;
  for (const [name, value] of values) {
    if (form.generated.has(name)) continue;
    const column = form.columns.get(name);
    if (column === undefined) throw noColumn(event, form.table, name);
    if (value !== null && (event.op === 'u' || event.isMoved) && placeholder.is(value)) {
      isWhole = false;
      continue;
    }
    try {
      image.set(name, columnText(column, schema?.fields.get(name) ?? null, value, options));
    } catch (error) {
      if (!isValueFault(error)) throw error;
      throw badRecord(event, `column ${name}: ${error.message}`);
    }
  }
  return { image, isWhole };
}

/**
 * Without schemas: columns whose values cannot be read before an option is given.
 * @throws RestageError config_invalid.
 */
export function requireReadable(form: RowForm, options: SourceOptions): void {
  const missing = new Map<string, string[]>();
  for (const [name, column] of form.columns) {
    const option = missingOption(column, options);
    if (option !== null) missing.set(option, [...(missing.get(option) ?? []), name]);
  }
  const [first] = missing;
  if (first === undefined) return;
  const [option, columns] = first;
  throw new RestageError(
    'config_invalid',
    `JSON without schemas does not tell how values of ${columns.join(', ')} are written`,
    {
      where: formatTable(form.table),
      fix: `say what the connector has: source.debezium.${option}`,
    },
  );
}

function noColumn(event: SourceEvent, table: TableName, column: string): RestageError {
  return new RestageError('target_altered', `the target's table lacks a column that events have: ${column}`, {
    where: `${formatTable(table)}; ${formatPlace(event)}`,
    fix: 'add the column to the table; the sink goes on from there',
  });
}
