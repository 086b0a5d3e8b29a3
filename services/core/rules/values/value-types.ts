import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import type { ColumnStructure } from '#core/structure.ts';

/** What a column's structure says of its type, as the catalog's reader says it. */
export type ValueType = Pick<
  ColumnStructure,
  'type' | 'typeSchema' | 'typeName' | 'modifiers' | 'json' | 'element' | 'enumLabels'
>;

interface BuiltIn {
  readonly typeName: string;
  /** As format_type prints it without modifiers. */
  readonly display: string;
  readonly takes: 'nothing' | 'length' | 'precision' | 'seconds';
}

const NUMERIC_DIGITS = 1000;
const LONGEST = 10_485_760;

const BUILT_INS: readonly BuiltIn[] = [
  { typeName: 'bool', display: 'boolean', takes: 'nothing' },
  { typeName: 'int2', display: 'smallint', takes: 'nothing' },
  { typeName: 'int4', display: 'integer', takes: 'nothing' },
  { typeName: 'int8', display: 'bigint', takes: 'nothing' },
  { typeName: 'numeric', display: 'numeric', takes: 'precision' },
  { typeName: 'float4', display: 'real', takes: 'nothing' },
  { typeName: 'float8', display: 'double precision', takes: 'nothing' },
  { typeName: 'text', display: 'text', takes: 'nothing' },
  { typeName: 'varchar', display: 'character varying', takes: 'length' },
  { typeName: 'bpchar', display: 'character', takes: 'length' },
  { typeName: 'name', display: 'name', takes: 'nothing' },
  { typeName: 'bytea', display: 'bytea', takes: 'nothing' },
  { typeName: 'date', display: 'date', takes: 'nothing' },
  { typeName: 'time', display: 'time without time zone', takes: 'seconds' },
  { typeName: 'timetz', display: 'time with time zone', takes: 'seconds' },
  { typeName: 'timestamp', display: 'timestamp without time zone', takes: 'seconds' },
  { typeName: 'timestamptz', display: 'timestamp with time zone', takes: 'seconds' },
  { typeName: 'interval', display: 'interval', takes: 'seconds' },
  { typeName: 'uuid', display: 'uuid', takes: 'nothing' },
  { typeName: 'json', display: 'json', takes: 'nothing' },
  { typeName: 'jsonb', display: 'jsonb', takes: 'nothing' },
  { typeName: 'xml', display: 'xml', takes: 'nothing' },
  { typeName: 'money', display: 'money', takes: 'nothing' },
  { typeName: 'inet', display: 'inet', takes: 'nothing' },
  { typeName: 'cidr', display: 'cidr', takes: 'nothing' },
  { typeName: 'macaddr', display: 'macaddr', takes: 'nothing' },
];

/** Other words for them (PostgreSQL: "Data Types", table 8.1). */
const ALIASES: Readonly<Record<string, string>> = {
  int: 'int4',
  decimal: 'numeric',
  char: 'bpchar',
  float: 'float8',
};

const NAMES: ReadonlyMap<string, BuiltIn> = new Map(
  BUILT_INS.flatMap((builtIn) => [
    [builtIn.typeName, builtIn] as const,
    [builtIn.display, builtIn] as const,
    ...Object.entries(ALIASES)
      .filter(([, name]) => name === builtIn.typeName)
      .map(([alias]) => [alias, builtIn] as const),
  ]),
);

/**
 * A type as people write it: `numeric(12,2)`, `character varying(20)`, `timestamptz`, `text[]`. What it gives is what the catalog says
 * of a column declared so. Types that a database defines itself have no meaning here. `where` names the rule.
 * @throws RestageError rule_invalid, with the nearest name.
 */
export function parseValueType(text: string, where: string): ValueType {
  const parts = /^\s*([a-z][a-z0-9_ ]*?)\s*(?:\(([^()]*)\))?\s*(with(?:out)? time zone)?\s*((?:\[\d*\]\s*)*)$/i.exec(
    text,
  );
  if (parts === null) throw unknownType(text, where);
  const [, base = '', given, zone = '', dimensions = ''] = parts;
  const name = `${base} ${zone}`.trim().toLowerCase().replaceAll(/\s+/g, ' ');
  const builtIn = name === 'float' && given !== undefined ? floatOf(given, text, where) : NAMES.get(name);
  if (builtIn === undefined) throw unknownType(text, where);
  const isFloat = name === 'float';
  const modifiers = isFloat ? '' : readModifiers(builtIn, name, given, text, where);
  const type = scalarType(builtIn, modifiers);
  return dimensions === '' ? type : arrayOf(type);
}

/** One of PostgreSQL's own types without modifiers. */
export function plainType(typeName: string): ValueType {
  const builtIn = BUILT_INS.find((candidate) => candidate.typeName === typeName);
  if (builtIn === undefined) throw new RestageError('bug', `no type ${typeName}`);
  return scalarType(builtIn, '');
}

export function arrayOf(element: ValueType): ValueType {
  return {
    type: `${element.type}[]`,
    typeSchema: element.typeSchema,
    typeName: `_${element.typeName}`,
    modifiers: element.modifiers,
    json: 'text',
    element: { schema: element.typeSchema, name: element.typeName },
    enumLabels: element.enumLabels,
  };
}

/** The element's type of an array; null for what is none. */
export function elementOf(type: ValueType): ValueType | null {
  const { element } = type;
  if (element === undefined) return null;
  return {
    type: type.type.replace(/\[\]$/, ''),
    typeSchema: element.schema,
    typeName: element.name,
    modifiers: type.modifiers,
    json: jsonOf(element.schema === 'pg_catalog' ? element.name : ''),
    enumLabels: type.enumLabels,
  };
}

/** typname of one of PostgreSQL's own scalar types, else null: an array, or a type of the database's own. */
export function builtInName(type: ValueType): string | null {
  return type.typeSchema === 'pg_catalog' && type.element === undefined ? type.typeName : null;
}

/** The same type, modifiers included. */
export function isSameType(left: ValueType, right: ValueType): boolean {
  return left.typeSchema === right.typeSchema && left.typeName === right.typeName && left.modifiers === right.modifiers;
}

function scalarType(builtIn: BuiltIn, modifiers: string): ValueType {
  const { typeName } = builtIn;
  return {
    type: displayOf(builtIn, modifiers),
    typeSchema: 'pg_catalog',
    typeName,
    modifiers,
    json: jsonOf(typeName),
    enumLabels: null,
  };
}

function jsonOf(typeName: string): ValueType['json'] {
  if (typeName === 'bool') return 'boolean';
  return typeName === 'int2' || typeName === 'int4' ? 'integer' : 'text';
}

/** As format_type prints it: the seconds' precision stands before the zone. */
function displayOf({ typeName, display }: BuiltIn, modifiers: string): string {
  if (modifiers === '') return typeName === 'bpchar' ? 'bpchar' : display;
  const zone = / with(?:out)? time zone$/.exec(display)?.[0] ?? '';
  return `${display.slice(0, display.length - zone.length)}(${modifiers})${zone}`;
}

function floatOf(given: string, text: string, where: string): BuiltIn | undefined {
  const bits = /^\s*\d{1,2}\s*$/.test(given) ? Number(given) : 0;
  if (bits < 1 || bits > 53) throw badModifiers(text, 'float takes 1 to 53 bits', where);
  return NAMES.get(bits <= 24 ? 'float4' : 'float8');
}

function readModifiers(
  { takes, typeName }: BuiltIn,
  name: string,
  given: string | undefined,
  text: string,
  where: string,
): string {
  // `char` alone is one character; `bpchar` alone has no limit.
  if (given === undefined) return typeName === 'bpchar' && name !== 'bpchar' ? '1' : '';
  const numbers = given.split(',').map((part) => (/^\s*-?\d{1,8}\s*$/.test(part) ? Number(part) : Number.NaN));
  const [first = Number.NaN, second = 0] = numbers;
  const isBetween = (value: number, least: number, most: number): boolean => value >= least && value <= most;
  switch (takes) {
    case 'nothing':
      throw badModifiers(text, `${typeName} takes nothing in parentheses`, where);
    case 'length':
      if (numbers.length === 1 && isBetween(first, 1, LONGEST)) return String(first);
      throw badModifiers(text, `a length is 1 to ${LONGEST}`, where);
    case 'seconds':
      if (numbers.length === 1 && isBetween(first, 0, 6)) return String(first);
      throw badModifiers(text, 'digits of a second are 0 to 6', where);
    case 'precision':
      if (
        numbers.length <= 2 &&
        isBetween(first, 1, NUMERIC_DIGITS) &&
        isBetween(second, -NUMERIC_DIGITS, NUMERIC_DIGITS)
      )
        return `${first},${second}`;
      throw badModifiers(
        text,
        `a precision is 1 to ${NUMERIC_DIGITS}, a scale -${NUMERIC_DIGITS} to ${NUMERIC_DIGITS}`,
        where,
      );
  }
}

function badModifiers(text: string, why: string, where: string): RestageError {
  return new RestageError('rule_invalid', `${text} is no type: ${why}`, { where });
}

function unknownType(text: string, where: string): RestageError {
  const near = nearest(text.replace(/[([].*$/s, '').trim(), [...NAMES.keys()]);
  return new RestageError('rule_invalid', `type ${JSON.stringify(text)} is not known`, {
    where,
    fix:
      near === null
        ? 'name a type of PostgreSQL itself, such as text or numeric(12,2); types that a database defines have no meaning here'
        : `did you mean ${near}?`,
  });
}
