/** A number as it stands in the text: 64-bit integers and decimals have more digits than a double holds. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Objects are maps, so no name of a field is special. */
export type Json = null | boolean | string | JsonNumber | readonly Json[] | ReadonlyMap<string, Json>;

/** Kafka Connect's own reader allows 1,000; schemas and values of tables are a dozen deep at most. */
const DEEPEST = 200;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;
/** Up to the next quote or backslash; control characters are not allowed in a string (RFC 8259, 7). */
// oxlint-disable-next-line no-control-regex -- that is what it looks for
const PLAIN = /[^"\\\u0000-\u001F]*/y;
const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/** A JSON text whole (RFC 8259), numbers exact. @throws SyntaxError where it is none, or is nested too deep. */
export function parseExactJson(text: string): Json {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

/** Where the value that begins at `at` ends. @throws SyntaxError. */
export function endOfJson(text: string, at: number): number {
  const reader = new Reader(text, at);
  reader.value(0);
  return reader.at;
}

class Reader {
  at: number;
  readonly #text: string;

  constructor(text: string, at = 0) {
    this.#text = text;
    this.at = at;
  }

  value(depth: number): Json {
    if (depth > DEEPEST) throw new SyntaxError(`nested deeper than ${DEEPEST}`);
    this.#match(SPACE);
    const first = this.#text.charAt(this.at);
    switch (first) {
      case '{':
        return this.#object(depth);
      case '[':
        return this.#array(depth);
      case '"':
        return this.#string();
      case 't':
        return this.#word('true', true);
      case 'f':
        return this.#word('false', false);
      case 'n':
        return this.#word('null', null);
      default: {
        const digits = this.#match(NUMBER);
        if (digits === '') throw this.#unexpected();
        return new JsonNumber(digits);
      }
    }
  }

  end(): void {
    this.#match(SPACE);
    if (this.at !== this.#text.length) throw this.#unexpected();
  }

  #object(depth: number): Json {
    const fields = new Map<string, Json>();
    this.at += 1;
    if (this.#has('}')) return fields;
    do {
      this.#match(SPACE);
      if (this.#text.charAt(this.at) !== '"') throw this.#unexpected();
      const name = this.#string();
      this.#must(':');
      fields.set(name, this.value(depth + 1));
    } while (this.#has(','));
    this.#must('}');
    return fields;
  }

  #array(depth: number): Json {
    const items: Json[] = [];
    this.at += 1;
    if (this.#has(']')) return items;
    do items.push(this.value(depth + 1));
    while (this.#has(','));
    this.#must(']');
    return items;
  }

  #string(): string {
    this.at += 1;
    let value = this.#match(PLAIN);
    for (;;) {
      const stop = this.#text.charAt(this.at);
      this.at += 1;
      if (stop === '"') return value;
      if (stop !== '\\') throw this.#unexpected();
      value += this.#escape() + this.#match(PLAIN);
    }
  }

  #escape(): string {
    const escape = this.#text.charAt(this.at);
    this.at += 1;
    if (escape !== 'u') {
      const plain = '"\\/'.includes(escape) && escape !== '' ? escape : ESCAPES[escape];
      if (plain === undefined) throw this.#unexpected();
      return plain;
    }
    const hex = this.#text.slice(this.at, this.at + 4);
    if (!/^[\dA-Fa-f]{4}$/.test(hex)) throw this.#unexpected();
    this.at += 4;
    return String.fromCharCode(Number.parseInt(hex, 16));
  }

  #word<T extends boolean | null>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.at)) throw this.#unexpected();
    this.at += word.length;
    return value;
  }

  #has(mark: string): boolean {
    this.#match(SPACE);
    if (this.#text.charAt(this.at) !== mark) return false;
    this.at += 1;
    return true;
  }

  #must(mark: string): void {
    if (!this.#has(mark)) throw this.#unexpected();
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.at += found.length;
    return found;
  }

  /** The place only: what stands there may be a value (invariant 8). */
  #unexpected(): SyntaxError {
    return new SyntaxError(this.at >= this.#text.length ? 'it ends too early' : `wrong at character ${this.at}`);
  }
}
