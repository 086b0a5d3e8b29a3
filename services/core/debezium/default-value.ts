import type { ConnectValue } from './connect-schema.ts';
import type { ValueMapper } from './value-mapper.ts';

/** What stands for a default that is computed: Debezium does not evaluate expressions. By pg_type.typname; others carry no default. */
const COMPUTED: Readonly<Record<string, string>> = {
  bit: '00',
  varbit: '0',
  bool: 'f',
  bpchar: '',
  varchar: '',
  text: '',
  numeric: '0.0',
  float4: '0.0',
  float8: '0.0',
  int2: '0',
  int4: '0',
  int8: '0',
  json: '{}',
  jsonb: '{}',
  xml: '',
  uuid: '00000000-0000-0000-0000-000000000000',
  date: '1970-01-01',
  time: '00:00:00',
  timestamp: '1970-01-01 00:00:00',
  timestamptz: '1970-01-01 00:00:00+00',
  interval: '00:00:00',
};

const FUNCTION_CALL = /^[(]?[A-Za-z0-9_.]+\(.*\)/s;
const CURRENT = /^(current_timestamp|current_time|current_date|localtime|localtimestamp)$/i;
const LITERAL = /'((?:[^']|'')*)'/;
const NUMBER = /^-?\d+(\.\d+)?$/;

/** A default as Debezium puts it into the schema, from pg_get_expr's text; undefined where it puts none. */
export function defaultValue(
  type: string,
  isEnum: boolean,
  expression: string,
  mapper: ValueMapper,
): ConnectValue | undefined {
  if (mapper.schema.type === 'struct') return undefined;
  const text = isEnum ? literalOf(expression) : literalText(type, expression);
  if (text === undefined) return undefined;
  return mapper.convert(text) ?? undefined;
}

function literalText(type: string, expression: string): string | undefined {
  const computed = Object.hasOwn(COMPUTED, type) ? COMPUTED[type] : undefined;
  if (computed === undefined) return undefined;
  if (FUNCTION_CALL.test(expression) || CURRENT.test(expression)) return computed;
  const literal = literalOf(expression);
  if (literal !== undefined) return literal;
  if (type === 'bool') return expression === 'true' ? 't' : 'f';
  return NUMBER.test(expression) ? expression : undefined;
}

function literalOf(expression: string): string | undefined {
  return LITERAL.exec(expression)?.[1]?.replaceAll("''", "'");
}
