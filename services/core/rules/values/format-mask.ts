import { createHmac } from 'node:crypto';
import { alphabetOf, type Alphabet } from '#core/rules/values/alphabets.ts';
import { isIntType, type IntType } from '#core/rules/values/fit.ts';
import { FormatCipher } from '#core/rules/values/format-cipher.ts';
import { uuidText } from '#core/rules/values/text-input.ts';
import { builtInName } from '#core/rules/values/value-types.ts';
import type { ColumnStructure } from '#core/structure.ts';

/** How far an integer's digits may go: the magnitudes of the largest and the smallest. */
const LIMITS: Readonly<Record<IntType, bigint>> = { int2: 2n ** 15n, int4: 2n ** 31n, int8: 2n ** 63n };
const UUIDS = 2n ** 128n;

/**
 * A mask that keeps a value's form: each digit and letter becomes one of its own alphabet, an integer keeps its sign and its number of
 * digits. A permutation of all values of one form, so different values stay different; the same in every column, so joins hold.
 * null for types that it does not take.
 */
export function compileFormat(
  column: ColumnStructure,
  secret: string,
  isKey: boolean,
): ((text: string) => string) | null {
  const cipher = new FormatCipher(createHmac('sha256', secret).update('restage format').digest());
  const name = builtInName(column);
  if (isIntType(name)) return (text) => formatInteger(cipher, text, LIMITS[name]);
  switch (name) {
    case 'text':
    case 'varchar':
      return (text) => formatText(cipher, text);
    case 'bpchar':
      return (text) => formatText(cipher, text.replace(/ +$/, '')).padEnd(text.length, ' ');
    case 'uuid':
      return (text) => {
        const value = BigInt(`0x${text.replaceAll('-', '')}`);
        const hex = cipher.permuteBelow(value, UUIDS, Buffer.from('uuid')).toString(16).padStart(32, '0');
        return uuidText(Buffer.from(hex, 'hex'));
      };
    case 'numeric':
      // Without a scale 1.0 and 1.00 are one value in two forms.
      return column.modifiers === '' || isKey ? null : (text) => formatNumeric(cipher, text);
    default:
      return null;
  }
}

function formatText(cipher: FormatCipher, text: string): string {
  const characters = Array.from(text, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return { character, code, alphabet: alphabetOf(code) };
  });
  let value = 0n;
  let limit = 1n;
  for (const { code, alphabet } of characters) {
    if (alphabet === null) continue;
    value = value * BigInt(alphabet.size) + BigInt(alphabet.indexOf(code));
    limit *= BigInt(alphabet.size);
  }
  // The tweak is the form: what stays, and which alphabet stands where.
  const form = characters.map(({ character, alphabet }) => (alphabet === null ? character : `\0${alphabet.name}\0`));
  let left = cipher.permuteBelow(value, limit, Buffer.from(form.join(''), 'utf8'));
  const changed = characters.map(({ character }) => character);
  for (let at = characters.length - 1; at >= 0; at -= 1) {
    const alphabet: Alphabet | null = characters[at]?.alphabet ?? null;
    if (alphabet === null) continue;
    const size = BigInt(alphabet.size);
    changed[at] = String.fromCodePoint(alphabet.at(Number(left % size)));
    left /= size;
  }
  return changed.join('');
}

/** Among the numbers of one sign and one count of digits that the type holds. */
function formatInteger(cipher: FormatCipher, text: string, bound: bigint): string {
  const isNegative = text.startsWith('-');
  const digits = isNegative ? text.slice(1) : text;
  const least = digits.length === 1 ? (isNegative ? 1n : 0n) : 10n ** BigInt(digits.length - 1);
  const most = smaller(10n ** BigInt(digits.length), isNegative ? bound + 1n : bound);
  const found = cipher.permuteBelow(
    BigInt(digits) - least,
    most - least,
    Buffer.from(`${isNegative ? '-' : '+'}${digits.length}`),
  );
  return `${isNegative ? '-' : ''}${found + least}`;
}

/** All digits together; a whole part keeps its first digit above 0. */
function formatNumeric(cipher: FormatCipher, text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  // NaN and the infinities say nothing.
  if (match === null) return text;
  const [, sign = '', whole = '', fraction = ''] = match;
  const digits = whole === '0' ? fraction : `${whole}${fraction}`;
  // There is no -0.
  const least = whole === '0' ? (sign === '' ? 0n : 1n) : 10n ** BigInt(digits.length - 1);
  const limit = 10n ** BigInt(digits.length) - least;
  const form = Buffer.from(`${sign}${whole === '0' ? 0 : whole.length}.${fraction.length}`);
  const found = cipher.permuteBelow(BigInt(digits === '' ? '0' : digits) - least, limit, form) + least;
  const shown = String(found).padStart(digits.length, '0');
  const [before, after] = whole === '0' ? ['0', shown] : [shown.slice(0, whole.length), shown.slice(whole.length)];
  return fraction === '' ? `${sign}${before}` : `${sign}${before}.${after}`;
}

function smaller(one: bigint, other: bigint): bigint {
  return one < other ? one : other;
}
