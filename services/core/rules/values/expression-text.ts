import { arrayText } from '#core/rules/values/array-text.ts';
import { compileCast, type Cast } from '#core/rules/values/cast.ts';
import { Decimal } from '#core/rules/values/decimal.ts';
import { jsonOf } from '#core/rules/values/expression-coercion.ts';
import type { Cell, StaticType, Value } from '#core/rules/values/expression-node.ts';
import type { ExpressionKind } from '#core/rules/values/expression-types.ts';
import { floatingText } from '#core/rules/values/floats.ts';
import { jsonbText } from '#core/rules/values/json-text.ts';
import { dayText, momentText, parseDay, parseMoment, spanText } from '#core/rules/values/moments.ts';
import { bytesOf, bytesText } from '#core/rules/values/text-input.ts';
import { arrayOf, builtInName, plainType, type ValueType } from '#core/rules/values/value-types.ts';
import type { Json } from '#core/debezium-source/exact-json.ts';
import { RestageError } from '#core/errors.ts';

/** What columns of a type are in an expression: what has no kind of its own is its text. */
export function kindOfType(type: ValueType): ExpressionKind {
  switch (builtInName(type)) {
    case 'bool':
      return 'bool';
    case 'int2':
    case 'int4':
    case 'int8':
      return 'int';
    case 'numeric':
      return 'decimal';
    case 'float4':
    case 'float8':
      return 'double';
    case 'date':
      return 'date';
    case 'timestamp':
    case 'timestamptz':
      return 'timestamp';
    case 'bytea':
      return 'bytes';
    default:
      return 'string';
  }
}

/** PostgreSQL's own text as a value of kindOfType. Throws for a text that the type never has. */
export function readerOf(type: ValueType): (text: string) => Value {
  switch (kindOfType(type)) {
    case 'bool':
      return (text) => text === 't' || text === 'true';
    case 'int':
      return BigInt;
    case 'decimal':
      return (text) => Decimal.parse(text);
    case 'double':
      return Number;
    case 'date':
      return parseDay;
    case 'timestamp':
      return (text) => parseMoment(text, true);
    case 'bytes':
      return bytesOf;
    default:
      return (text) => text;
  }
}

/** The type that an expression has by itself. */
export function ownType(type: StaticType): ValueType {
  if (type.column !== undefined) return type.column;
  switch (type.kind) {
    case 'bool':
      return plainType('bool');
    case 'int':
      return plainType('int8');
    case 'decimal':
      return plainType('numeric');
    case 'double':
      return plainType('float8');
    case 'timestamp':
      return plainType('timestamptz');
    case 'date':
      return plainType('date');
    case 'duration':
      return plainType('interval');
    case 'bytes':
      return plainType('bytea');
    case 'json':
      return plainType('jsonb');
    case 'list':
      return arrayOf(type.element === undefined ? plainType('text') : ownType({ kind: type.element.kind }));
    case 'string':
    case 'null':
      return plainType('text');
  }
}

/** As ownType's text. */
function ownText(value: Value, type: StaticType): string {
  switch (type.kind) {
    case 'bool':
      return value === true ? 't' : 'f';
    case 'double':
      return floatingText(value as number, 'float8');
    case 'timestamp':
      return momentText(value as bigint, type.column?.typeName !== 'timestamp');
    case 'date':
      return dayText(value as bigint);
    case 'duration':
      return spanText(value as bigint);
    case 'bytes':
      return bytesText(value as Uint8Array);
    case 'json':
      return jsonbText(value as Json);
    case 'list': {
      const element: StaticType = { kind: type.element?.kind ?? 'null' };
      return arrayText((value as readonly Cell[]).map((item) => (item === null ? null : ownText(item, element))));
    }
    case 'int':
      return (value as bigint).toString();
    case 'decimal':
      return (value as Decimal).toString();
    case 'string':
    case 'null':
      return value as string;
  }
}

/** Types that an expression's kind becomes without a word of its own; anything becomes text. */
const BECOMES: Partial<Record<ExpressionKind, readonly string[]>> = {
  bool: ['bool'],
  int: ['int2', 'int4', 'int8', 'numeric', 'float4', 'float8'],
  decimal: ['numeric'],
  double: ['float4', 'float8'],
  timestamp: ['timestamp', 'timestamptz'],
  date: ['date', 'timestamp', 'timestamptz'],
  duration: ['interval'],
  bytes: ['bytea'],
  json: ['json', 'jsonb'],
};
const TEXTS = ['text', 'varchar', 'bpchar'];

/** Writes what an expression gives as the text of `to`. @throws RestageError rule_invalid where the kind does not become that type. */
export function makeWriter(type: StaticType, to: ValueType, where: string): (value: Value) => string | null {
  const name = builtInName(to) ?? '';
  if (type.kind === 'json' && TEXTS.includes(name))
    return writeVia(compileCast(plainType('text'), to, where), jsonScalarText);
  if (type.kind === 'list' && (name === 'json' || name === 'jsonb')) return (value) => jsonbText(jsonOf(value, type));
  const isPlain = type.kind === 'string' || type.kind === 'null' || type.kind === 'list' || TEXTS.includes(name);
  if (!isPlain && BECOMES[type.kind]?.includes(name) !== true)
    throw new RestageError('rule_invalid', `the expression gives a ${type.kind}, the column is ${to.type}`, {
      where,
      fix: 'convert it: int(…), decimal(…), double(…), string(…), date(…)',
    });
  return writeVia(compileCast(ownType(type), to, where), (value) => ownText(value, type));
}

/** As `->>` gives it: a string without its quotes, anything else as jsonb prints it. */
export function jsonScalarText(value: Value): string {
  return typeof value === 'string' ? value : jsonbText(value as Json);
}

function writeVia(cast: Cast, text: (value: Value) => string): (value: Value) => string | null {
  return (value) => cast(text(value));
}
