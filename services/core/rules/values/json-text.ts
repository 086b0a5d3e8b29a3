import { JsonNumber, parseExactJson, type Json } from '#core/debezium-source/exact-json.ts';
import { Decimal } from '#core/rules/values/decimal.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';

/** @throws RuleFailure. Numbers stay as they are written. */
export function parseJsonText(text: string): Json {
  try {
    return parseExactJson(text);
  } catch {
    throw new RuleFailure('invalid_text', 'a text is no JSON, or is nested deeper than 200');
  }
}

/** As jsonb prints it: keys by length, then by bytes, numbers as numeric prints them. @throws RuleFailure for what jsonb does not hold. */
export function jsonbText(value: Json): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return stringText(value);
  if (value instanceof JsonNumber) return numberOf(value).toString();
  if (isList(value)) return `[${value.map(jsonbText).join(', ')}]`;
  const fields = [...value].map(([name, field]) => ({ bytes: Buffer.from(name, 'utf8'), name, field }));
  fields.sort((a, b) => a.bytes.length - b.bytes.length || Buffer.compare(a.bytes, b.bytes));
  return `{${fields.map(({ name, field }) => `${stringText(name)}: ${jsonbText(field)}`).join(', ')}}`;
}

export function numberOf(value: JsonNumber): Decimal {
  try {
    return Decimal.parse(value.text);
  } catch {
    throw new RuleFailure('out_of_range', 'a number in JSON is out of the range of numeric');
  }
}

export function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

function stringText(value: string): string {
  if (value.includes('\0') || /\p{Surrogate}/u.test(value))
    throw new RuleFailure('invalid_text', 'jsonb does not hold this character');
  return JSON.stringify(value);
}
