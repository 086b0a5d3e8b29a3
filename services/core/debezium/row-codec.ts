import { RestageError } from '#core/errors.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import { UNCHANGED, type Tuple } from '#core/tuple.ts';
import { optional, required, type ConnectSchema, type ConnectValue } from './connect-schema.ts';
import { defaultValue } from './default-value.ts';
import type { DebeziumOptions } from './options.ts';
import { mapperOf } from './type-map.ts';
import type { ValueMapper } from './value-mapper.ts';

interface Field {
  readonly name: string;
  /** In the tuples. */
  readonly index: number;
  readonly mapper: ValueMapper;
  readonly isOptional: boolean;
  readonly schema: ConnectSchema;
}

/** Rows of one table as Kafka Connect's structs: `<topic>.Value` and, of the key's columns, `<topic>.Key`. */
export class RowCodec {
  readonly rowSchema: ConnectSchema;
  /** null for a table without key. */
  readonly keySchema: ConnectSchema | null;
  readonly #structure: TableStructure;
  readonly #fields: readonly Field[];
  readonly #keyFields: readonly Field[];

  /** `columns`: those that values come for, in their order. */
  constructor(structure: TableStructure, columns: readonly ColumnStructure[], options: DebeziumOptions) {
    this.#structure = structure;
    const fields = columns.flatMap((column, index) => fieldOf(column, index, options) ?? []);
    // In the table's order, whatever order the values come in.
    this.#fields = structure.columns.flatMap((column) => fields.find((field) => field.name === column.name) ?? []);
    this.#keyFields = keyColumns(structure).flatMap((name) => fields.find((field) => field.name === name) ?? []);
    this.rowSchema = structOf(`${structure.topic}.Value`, this.#fields);
    this.keySchema = this.#keyFields.length === 0 ? null : structOf(`${structure.topic}.Key`, this.#keyFields);
  }

  /** @throws RestageError value_unmapped where a required column's value has no form in this profile. */
  row(values: Tuple): ConnectValue {
    return this.#fields.map((field) => this.#value(field, values));
  }

  key(values: Tuple): ConnectValue {
    return this.#keyFields.map((field) => this.#value(field, values));
  }

  /** A new image with what the old one has of its unchanged values. */
  complete(after: Tuple, before: Tuple): Tuple {
    return after.map((value, index) => {
      const old = before[index];
      return value === UNCHANGED && typeof old === 'string' ? old : value;
    });
  }

  #value({ name, index, mapper, isOptional, schema }: Field, values: Tuple): ConnectValue {
    const value = values[index];
    if (typeof value === 'string') {
      const converted = mapper.convert(value);
      if (converted === null && !isOptional) throw this.#unmapped(name);
      return converted;
    }
    if (value === UNCHANGED && mapper.unavailable !== null) return mapper.unavailable;
    if (isOptional) return null;
    return schema.default ?? mapper.zero;
  }

  #unmapped(column: string): RestageError {
    return new RestageError('value_unmapped', `a value of column ${column} has no form in profile debezium`, {
      where: formatTable(this.#structure),
      fix: 'numeric: "decimal.handling.mode": string under debezium; else take the column or table out, or use profile lossless',
    });
  }
}

/** The names of the columns that profile debezium leaves out of events, as Debezium does. */
export function unmappedColumns(structure: TableStructure, options: DebeziumOptions): string[] {
  return structure.columns
    .filter((column, index) => !column.generated && fieldOf(column, index, options) === null)
    .map((column) => column.name);
}

/** The replica identity's columns, so that old rows carry them; without: the first unique key's, as Debezium takes them. */
function keyColumns({ identity, uniques, columns }: TableStructure): readonly string[] {
  if (identity.columns.length > 0) return identity.columns;
  const unique = uniques.find((names) => columns.every((one) => !names.includes(one.name) || one.notNull));
  return unique ?? [];
}

function fieldOf(column: ColumnStructure, index: number, options: DebeziumOptions): Field | null {
  if (column.generated) return null;
  const { base } = column;
  const name = base?.name ?? column.element?.name ?? column.typeName;
  const modifiers = (base?.modifiers ?? column.modifiers)
    .split(',')
    .flatMap((one) => (one === '' ? [] : [Number(one)]));
  const labels = base?.labels ?? column.enumLabels;
  const mapper = mapperOf(
    { name, isArray: base === undefined && column.element !== undefined, modifiers, labels },
    options,
  );
  if (mapper === null) return null;
  const isOptional = !column.notNull;
  const given =
    column.default === undefined
      ? undefined
      : defaultValue(
          column.typeName,
          column.enumLabels !== null && column.element === undefined,
          column.default,
          mapper,
        );
  const schema = { ...mapper.schema, ...(given === undefined ? {} : { default: given }) };
  return { name: column.name, index, mapper, isOptional, schema: isOptional ? optional(schema) : schema };
}

function structOf(name: string, fields: readonly Field[]): ConnectSchema {
  return required('struct', { name, fields: fields.map((field) => ({ name: field.name, schema: field.schema })) });
}
