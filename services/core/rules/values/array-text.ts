import { RuleFailure } from '#core/rules/values/rule-failure.ts';

const SPACE = /[ \t\n\v\f\r]*/y;
const BARE = /(?:[^\\"{},]|\\[^])*/y;
const QUOTED = /"((?:[^"\\]|\\[^])*)"/y;
/** What PostgreSQL puts into quotes in an array (arrayfuncs.c: array_out). */
const NEEDS_QUOTES = /["\\{},\s]/;

/**
 * Rewrites every element of an array's text, whatever its dimensions and bounds; NULL elements are asked for too.
 * (PostgreSQL: "Array Input and Output Syntax".) @throws RuleFailure for a text that is no array.
 */
export function mapArray(text: string, change: (element: string | null) => string | null): string {
  const trimmed = text.trim();
  const bounds = /^(?:\[[+-]?\d+(?::[+-]?\d+)?\])+=(?=\{)/.exec(trimmed)?.[0] ?? '';
  const reader = new ArrayReader(trimmed, bounds.length, (element) => quoteElement(change(element)));
  return `${bounds}${reader.whole()}`;
}

/** The elements of a one-dimensional array in order. @throws RuleFailure also for more dimensions. */
export function arrayElements(text: string): (string | null)[] {
  const elements: (string | null)[] = [];
  let depth = 0;
  const from = text.indexOf('{');
  new ArrayReader(
    text,
    from < 0 ? 0 : from,
    (element) => {
      elements.push(element);
      return '';
    },
    () => {
      depth += 1;
      if (depth > 1) throw new RuleFailure('wrong_type', 'an array has more than one dimension');
    },
  ).whole();
  return elements;
}

export function arrayText(elements: readonly (string | null)[]): string {
  return `{${elements.map(quoteElement).join(',')}}`;
}

function quoteElement(element: string | null): string {
  if (element === null) return 'NULL';
  if (element !== '' && !NEEDS_QUOTES.test(element) && element.toUpperCase() !== 'NULL') return element;
  return `"${element.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}

class ArrayReader {
  readonly #text: string;
  readonly #take: (element: string | null) => string;
  readonly #enter: () => void;
  #at: number;

  constructor(text: string, at: number, take: (element: string | null) => string, enter: () => void = () => {}) {
    this.#text = text;
    this.#at = at;
    this.#take = take;
    this.#enter = enter;
  }

  whole(): string {
    const array = this.#array(0);
    this.#match(SPACE);
    if (this.#at !== this.#text.length) throw malformed();
    return array;
  }

  #array(depth: number): string {
    // PostgreSQL has six dimensions at most.
    if (depth > 5 || this.#text.charAt(this.#at) !== '{') throw malformed();
    this.#enter();
    this.#at += 1;
    this.#match(SPACE);
    if (this.#text.charAt(this.#at) === '}') {
      this.#at += 1;
      return '{}';
    }
    const parts: string[] = [];
    for (;;) {
      this.#match(SPACE);
      parts.push(this.#text.charAt(this.#at) === '{' ? this.#array(depth + 1) : this.#element());
      this.#match(SPACE);
      const mark = this.#text.charAt(this.#at);
      this.#at += 1;
      if (mark === '}') return `{${parts.join(',')}}`;
      if (mark !== ',') throw malformed();
    }
  }

  #element(): string {
    if (this.#text.charAt(this.#at) === '"') {
      const quoted = this.#match(QUOTED);
      if (quoted === '') throw malformed();
      return this.#take(unescape(quoted.slice(1, -1)));
    }
    const bare = this.#match(BARE).trimEnd();
    if (bare === '') throw malformed();
    return this.#take(bare.toUpperCase() === 'NULL' ? null : unescape(bare));
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }
}

function unescape(text: string): string {
  return text.includes('\\') ? text.replaceAll(/\\([^])/g, '$1') : text;
}

function malformed(): RuleFailure {
  return new RuleFailure('invalid_text', 'a text is no array');
}
