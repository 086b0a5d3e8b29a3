/** A text as it is written out: of a large row in pieces, which are never put together. */
export type Text = string | LongText;

/** Characters from which on a value is written apart from what stands around it. */
export const LONG_CHARACTERS = 262_144;
// oxlint-disable-next-line no-control-regex -- JSON wants control characters escaped
const NEEDS_ESCAPE = /["\\\u0000-\u001f]/;

/** A string that is made of a large one holds it once more as soon as somebody reads it; this only points at it. */
export class LongText {
  readonly parts: readonly string[];
  /** In UTF-16 units. */
  readonly length: number;

  constructor(parts: readonly string[]) {
    this.parts = parts;
    this.length = parts.reduce((sum, { length }) => sum + length, 0);
  }

  toString(): string {
    return this.parts.join('');
  }

  /** In order, none longer than `most` units and one; both halves of a character stay together. */
  pieces(most: number): string[] {
    const pieces: string[] = [];
    let open = '';
    for (const part of this.parts) {
      for (let at = 0; at < part.length;) {
        if (open.length >= most) {
          pieces.push(open);
          open = '';
        }
        const end = endOfPiece(part, at, most - open.length);
        open += part.slice(at, end);
        at = end;
      }
    }
    return open === '' ? pieces : [...pieces, open];
  }
}

/** One text of several. */
export function joinTexts(texts: readonly Text[]): Text {
  if (texts.every((text) => typeof text === 'string')) return texts.join('');
  return new LongText(texts.flatMap((text) => (typeof text === 'string' ? [text] : text.parts)));
}

/** A string as JSON, in pieces: what needs no escape is not copied. */
export function jsonParts(value: string): string[] {
  const parts = ['"'];
  for (let at = 0, end = 0; at < value.length; at = end) {
    end = endOfPiece(value, at, LONG_CHARACTERS);
    const piece = value.slice(at, end);
    parts.push(NEEDS_ESCAPE.test(piece) ? JSON.stringify(piece).slice(1, -1) : piece);
  }
  return [...parts, '"'];
}

/** Where a piece of up to `most` units, two at least, from `at` on ends. */
export function endOfPiece(text: string, at: number, most: number): number {
  const end = Math.min(text.length, at + Math.max(most, 2));
  const unit = end < text.length ? text.charCodeAt(end - 1) : 0;
  return unit >= 0xd800 && unit <= 0xdbff ? end - 1 : end;
}
