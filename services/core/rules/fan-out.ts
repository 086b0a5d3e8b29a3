import type { Cell, Row } from '#core/envelope.ts';
import { cellText } from '#core/envelope.ts';
import { parseArray } from '#core/debezium/container-text.ts';
import { RestageError } from '#core/errors.ts';
import type { Unnest } from '#core/rules/rule-config.ts';
import { cellOf, rowFrom } from '#core/rules/rows.ts';
import type { ColumnStructure } from '#core/structure.ts';

/** The rows that one row gives: itself with each element of its array. */
export interface FanOut {
  readonly columns: readonly ColumnStructure[];
  /** None for NULL and for an empty array (PostgreSQL: unnest, jsonb_array_elements). @throws RestageError rule_failed. */
  expand(row: Row, place: string): Row[];
}

/** @throws RestageError rule_invalid for a column that holds no array. */
export function compileFanOut(unnest: Unnest, columns: readonly ColumnStructure[], where: string): FanOut {
  const column = columns.find(({ name }) => name === unnest.column);
  const element = column === undefined ? null : elementOf(column, unnest.as);
  if (element === null)
    throw new RestageError('rule_invalid', `column ${unnest.column} holds no array, jsonb or json`, {
      where: `${where}, unnest`,
      fix: 'name a column of an array type, of jsonb or of json',
    });
  const position: ColumnStructure[] = unnest.position === null ? [] : [plainColumn(unnest.position, 'int8')];
  const isArray = column?.element !== undefined;
  return {
    columns: [element, ...position],
    expand(row, place) {
      const text = cellText(row[unnest.column] ?? null);
      if (text === null) return [];
      const elements = isArray ? parseArray(text) : splitJsonArray(text);
      if (elements === null)
        throw new RestageError('rule_failed', `column ${unnest.column} holds no one-dimensional array`, {
          where: `${place}; ${where}, unnest`,
          fix: 'leave such rows out with where, or give them to a module',
        });
      return elements.map((one, index) => {
        const added: [string, Cell][] = [[unnest.as, cellOf(one, element.json)]];
        if (unnest.position !== null) added.push([unnest.position, String(index + 1)]);
        return rowFrom([...Object.entries(row), ...added]);
      });
    },
  };
}

/** What a column's elements are; null where it has none. A json element keeps its own text. */
function elementOf(column: ColumnStructure, name: string): ColumnStructure | null {
  const { typeSchema, typeName, element } = column;
  if (element !== undefined) {
    const isPlain = element.schema === 'pg_catalog';
    const json =
      isPlain && element.name === 'bool' ? 'boolean' : isPlain && isSmallInteger(element.name) ? 'integer' : 'text';
    const type = column.type.replace(/(?:\[\])+$/, '');
    const { modifiers, enumLabels } = column;
    return { ...plainColumn(name, element.name), type, typeSchema: element.schema, modifiers, enumLabels, json };
  }
  const isJson = typeSchema === 'pg_catalog' && (typeName === 'jsonb' || typeName === 'json');
  return isJson ? plainColumn(name, typeName) : null;
}

function isSmallInteger(typeName: string): boolean {
  return typeName === 'int2' || typeName === 'int4';
}

function plainColumn(name: string, typeName: string): ColumnStructure {
  const type = typeName === 'int8' ? 'bigint' : typeName;
  return {
    name,
    type,
    typeSchema: 'pg_catalog',
    typeName,
    modifiers: '',
    json: 'text',
    notNull: false,
    generated: false,
    identity: '',
    enumLabels: null,
  };
}

/** The elements of a JSON array, each as it stands there: no number is read. null where the value is no array. */
function splitJsonArray(text: string): string[] | null {
  const whole = text.trim();
  if (!whole.startsWith('[')) return null;
  const elements: string[] = [];
  let depth = 0;
  let from = 1;
  for (let at = 1; at < whole.length; at += 1) {
    const character = whole.charAt(at);
    if (character === '"') at = endOfString(whole, at);
    else if (character === '[' || character === '{') depth += 1;
    else if ((character === ']' || character === '}') && depth > 0) depth -= 1;
    else if (depth === 0 && (character === ',' || character === ']')) {
      const element = whole.slice(from, at).trim();
      if (element !== '') elements.push(element);
      from = at + 1;
    }
  }
  return elements;
}

function endOfString(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text.charAt(at) !== '"') at += text.charAt(at) === '\\' ? 2 : 1;
  return at;
}
