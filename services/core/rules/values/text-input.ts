import { RuleFailure } from '#core/rules/values/rule-failure.ts';

/** What the types' input functions take, and give back as PostgreSQL prints it. Each @throws RuleFailure invalid_text. */

const TRUE_WORDS = ['true', 'yes', 'on', '1'];
const FALSE_WORDS = ['false', 'no', 'off', '0'];

/** Any unique prefix of the words, in any case (PostgreSQL: "Boolean Type"). */
export function parseFlag(text: string): boolean {
  const word = text.trim().toLowerCase();
  const isWord = (known: string): boolean => word !== '' && known.startsWith(word) && word !== 'o';
  if (TRUE_WORDS.some(isWord)) return true;
  if (FALSE_WORDS.some(isWord)) return false;
  throw new RuleFailure('invalid_text', 'a text is no boolean');
}

/** With hyphens after any group of four digits, or none; in braces or not (PostgreSQL: "UUID Type"). */
export function parseUuid(text: string): string {
  const match = /^(\{?)([\da-f]{4}(?:-?[\da-f]{4}){7})(\}?)$/i.exec(text);
  if (match === null || (match[1] === '{') !== (match[3] === '}'))
    throw new RuleFailure('invalid_text', 'a text is no uuid');
  return uuidText(Buffer.from((match[2] ?? '').replaceAll('-', ''), 'hex'));
}

/** Of 16 bytes. */
export function uuidText(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Hex or escape format, printed as hex (PostgreSQL: "Binary Data Types"). */
export function parseBytes(text: string): string {
  return bytesText(bytesOf(text));
}

export function bytesText(bytes: Uint8Array): string {
  return `\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`;
}

export function bytesOf(text: string): Buffer {
  if (text.startsWith('\\x')) {
    if (!/^[ \t\n\r]*(?:[\da-f]{2}[ \t\n\r]*)*$/i.test(text.slice(2)))
      throw new RuleFailure('invalid_text', 'a text is no bytea');
    return Buffer.from(text.slice(2).replaceAll(/\s/g, ''), 'hex');
  }
  const parts: Buffer[] = [];
  for (const [part = ''] of text.matchAll(/\\\\|\\[0-3][0-7]{2}|\\|[^\\]+/g)) {
    if (part === '\\') throw new RuleFailure('invalid_text', 'a text is no bytea');
    if (part === '\\\\') parts.push(Buffer.from('\\'));
    else if (part.startsWith('\\')) parts.push(Buffer.of(Number.parseInt(part.slice(1), 8)));
    else parts.push(Buffer.from(part, 'utf8'));
  }
  return Buffer.concat(parts);
}
