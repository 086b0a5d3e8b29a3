import { arrivingSchema, type ColumnForm } from './column-text.ts';
import type { StructDatum } from './event.ts';
import type { SourceOptions } from './options.ts';
import type { RowForm } from './row-change.ts';
import type { WireSchema } from './wire-value.ts';

/** What of a table's values never reaches Kafka in the connector's modes: the columns, by what becomes of them. */
export type ModeLosses = ReadonlyMap<string, readonly string[]>;

const CONNECT = 'org.apache.kafka.connect.data.';
const TIME = 'io.debezium.time.';
const MILLIS = 3;

/** Of a row's columns, by the schemas that its record carries, or by the options where it has none (Debezium: "Data type mappings"). */
export function lossesOf({ schema, values }: StructDatum, form: RowForm, options: SourceOptions): ModeLosses {
  const losses = new Map<string, string[]>();
  for (const name of values.keys()) {
    const column = form.columns.get(name);
    const loss = column === undefined ? null : lossOf(column, schema?.fields.get(name) ?? null, options);
    if (loss !== null) losses.set(loss, [...(losses.get(loss) ?? []), name]);
  }
  return losses;
}

/** null: the mode keeps every value of the column's type. */
export function lossOf(form: ColumnForm, schema: WireSchema | null, options: SourceOptions): string | null {
  const sent = arrivingSchema(form, schema, options);
  const { type, name } = form.isArray ? (sent.items ?? sent) : sent;
  switch (form.type) {
    case 'numeric':
    case 'money':
      return type === 'double' || type === 'float'
        ? 'decimal.handling.mode=double keeps about 15 digits'
        : name.endsWith('.VariableScaleDecimal')
          ? 'decimal.handling.mode=precise drops trailing zeros of a numeric without scale, NaN and infinities'
          : null;
    case 'time':
    case 'timestamp':
      if ((name === `${CONNECT}Time` || name === `${CONNECT}Timestamp`) && (form.modifiers[0] ?? 6) > MILLIS)
        return 'time.precision.mode=connect cuts to milliseconds';
      return name === `${TIME}NanoTimestamp` ? 'time.precision.mode=nanoseconds ends in 1677 and 2262' : null;
    case 'interval':
      return name === `${TIME}MicroDuration` || name === `${TIME}NanoDuration`
        ? 'interval.handling.mode=numeric counts a month as 30.4375 days'
        : null;
    default:
      return null;
  }
}
