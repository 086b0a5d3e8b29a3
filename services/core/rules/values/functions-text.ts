import { createHash } from 'node:crypto';
import type { Cell, Value } from '#core/rules/values/expression-node.ts';
import { lengthOf } from '#core/rules/values/fit.ts';
import { define, type FunctionDefinition } from '#core/rules/values/functions.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import { bytesText } from '#core/rules/values/text-input.ts';

/** Positions count characters from 0, as CEL has it; a range beyond the text is what of it there is. */
export const TEXT_FUNCTIONS: readonly FunctionDefinition[] = [
  define('lower', ['string'], 'string', (text) => str(text).toLowerCase()),
  define('upper', ['string'], 'string', (text) => str(text).toUpperCase()),
  define('lowerAscii', ['string'], 'string', (text) => str(text).replaceAll(/[A-Z]+/g, (part) => part.toLowerCase())),
  define('upperAscii', ['string'], 'string', (text) => str(text).replaceAll(/[a-z]+/g, (part) => part.toUpperCase())),
  define('trim', ['string'], 'string', (text) => trimOf(str(text), ' ', 'both')),
  define('trim', ['string', 'string'], 'string', (text, of) => trimOf(str(text), str(of), 'both')),
  define('ltrim', ['string'], 'string', (text) => trimOf(str(text), ' ', 'left')),
  define('ltrim', ['string', 'string'], 'string', (text, of) => trimOf(str(text), str(of), 'left')),
  define('rtrim', ['string'], 'string', (text) => trimOf(str(text), ' ', 'right')),
  define('rtrim', ['string', 'string'], 'string', (text, of) => trimOf(str(text), str(of), 'right')),
  define('substring', ['string', 'int'], 'string', (text, from) => slice(str(text), int(from), null)),
  define('substring', ['string', 'int', 'int'], 'string', (text, from, to) => slice(str(text), int(from), int(to))),
  define('left', ['string', 'int'], 'string', (text, count) => slice(str(text), 0n, int(count))),
  define('right', ['string', 'int'], 'string', (text, count) =>
    slice(str(text), BigInt(lengthOf(str(text))) - int(count), null),
  ),
  define('replace', ['string', 'string', 'string'], 'string', (text, from, to) =>
    from === '' ? str(text) : str(text).split(str(from)).join(str(to)),
  ),
  { ...define('split', ['string', 'string'], 'list', (text, by) => splitOf(str(text), str(by))), element: 'string' },
  define('contains', ['string', 'string'], 'bool', (text, part) => str(text).includes(str(part))),
  define('startsWith', ['string', 'string'], 'bool', (text, part) => str(text).startsWith(str(part))),
  define('endsWith', ['string', 'string'], 'bool', (text, part) => str(text).endsWith(str(part))),
  define('indexOf', ['string', 'string'], 'int', (text, part) => placeOf(str(text), str(text).indexOf(str(part)))),
  define('lastIndexOf', ['string', 'string'], 'int', (text, part) =>
    placeOf(str(text), str(text).lastIndexOf(str(part))),
  ),
  define('size', ['string'], 'int', (text) => BigInt(lengthOf(str(text)))),
  define('size', ['bytes'], 'int', (bytes) => BigInt((bytes as Uint8Array).length)),
  define('size', ['list'], 'int', (list) => BigInt((list as readonly Cell[]).length)),
  define('join', ['list', 'string'], 'string', (list, by) => textsOf(list).join(str(by))),
  define('hex', ['bytes'], 'string', (bytes) => bytesText(bytes as Uint8Array).slice(2)),
  define('base64', ['bytes'], 'string', (bytes) => Buffer.from(bytes as Uint8Array).toString('base64')),
  define('sha256', ['string'], 'bytes', (text) => createHash('sha256').update(str(text), 'utf8').digest()),
  define('sha256', ['bytes'], 'bytes', (bytes) =>
    createHash('sha256')
      .update(bytes as Uint8Array)
      .digest(),
  ),
];

function str(value: Value | undefined): string {
  return value as string;
}

function int(value: Value | undefined): bigint {
  return value as bigint;
}

/** NULLs are left out, as array_to_string leaves them out. */
function textsOf(list: Value | undefined): string[] {
  return (list as readonly Cell[]).flatMap((item) => {
    if (item === null) return [];
    if (typeof item !== 'string') throw new RuleFailure('wrong_type', 'join takes a list of strings');
    return [item];
  });
}

function trimOf(text: string, of: string, side: 'both' | 'left' | 'right'): string {
  const set = new Set(of);
  const characters = Array.from(text);
  const isKept = (character: string): boolean => !set.has(character);
  const from = side === 'right' ? 0 : characters.findIndex(isKept);
  const to = side === 'left' ? characters.length : characters.findLastIndex(isKept) + 1;
  return from < 0 ? '' : characters.slice(from, to).join('');
}

function slice(text: string, from: bigint, to: bigint | null): string {
  const characters = Array.from(text);
  const end = to === null ? characters.length : within(to, characters.length);
  return characters.slice(within(from, characters.length), end).join('');
}

function within(index: bigint, length: number): number {
  return index <= 0n ? 0 : index >= BigInt(length) ? length : Number(index);
}

/** An empty separator gives the text whole, as string_to_array does; an empty text gives no element. */
function splitOf(text: string, by: string): string[] {
  if (text === '') return [];
  return by === '' ? [text] : text.split(by);
}

/** A place counted in characters; −1 for none. */
function placeOf(text: string, at: number): bigint {
  return at < 0 ? -1n : BigInt(lengthOf(text.slice(0, at)));
}
