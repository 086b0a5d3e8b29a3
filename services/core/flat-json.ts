import type { Row } from '#core/envelope.ts';

/** Where something ends in a text, and what it is. */
interface Read<T> {
  readonly value: T;
  readonly end: number;
}

/**
 * An object of plain values, or null, that begins at `at`, without spaces; null where anything else stands there. Values that need no
 * escape point into the text, so that a large one is not held twice. @throws SyntaxError where a value is no JSON.
 */
export function readFlatObject(text: string, at: number): Read<Row | null> | null {
  if (text.startsWith('null', at)) return { value: null, end: at + 4 };
  if (text[at] !== '{') return null;
  const entries: (readonly [string, Row[string]])[] = [];
  let end = at + 1;
  while (text[end] !== '}') {
    if (entries.length > 0 && text[end] !== ',') return null;
    const name = readString(text, entries.length > 0 ? end + 1 : end);
    if (name === null || text[name.end] !== ':') return null;
    const cell = readCell(text, name.end + 1);
    if (cell === null) return null;
    entries.push([name.value, cell.value]);
    end = cell.end;
  }
  return { value: Object.fromEntries(entries), end: end + 1 };
}

function readCell(text: string, at: number): Read<Row[string]> | null {
  if (text[at] === '"') return readString(text, at);
  const [word] = /^[^,}"{[\s]{1,32}/.exec(text.slice(at, at + 32)) ?? [];
  return word === undefined ? null : { value: JSON.parse(word) as Row[string], end: at + word.length };
}

/** It ends at the first quote that an even number of backslashes stands before. */
function readString(text: string, at: number): Read<string> | null {
  if (text[at] !== '"') return null;
  for (let end = text.indexOf('"', at + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === 0x5c) slashes += 1;
    if (slashes % 2 === 1) continue;
    const plain = text.slice(at + 1, end);
    return { value: plain.includes('\\') ? (JSON.parse(text.slice(at, end + 1)) as string) : plain, end: end + 1 };
  }
  return null;
}
