import { LONG_CHARACTERS, LongText, type Text } from '#core/long-text.ts';

/** A statement's parameter as PostgreSQL's text of it, or as the bytes of that text; null for NULL. */
export type Parameter = Text | Buffer | null;

/** Type, length, two empty names, no format of any parameter, how many parameters. */
const HEAD_BYTES = 11;
const LENGTH_BYTES = 4;
/** No format of any result. Where none is named, all are text. */
const TAIL_BYTES = 2;

/**
 * A Bind message of the unnamed portal and statement in its order, large texts in pieces: each is there twice only while it is written
 * (PostgreSQL: "Message Formats").
 */
export function* bindMessage(values: readonly Parameter[]): Generator<string | Buffer, void, undefined> {
  const texts = values.map((value) => (typeof value === 'string' ? new LongText([value]) : value));
  const sizes = texts.map(bytesOf);
  const head = Buffer.alloc(HEAD_BYTES);
  head.write('B', 0, 'latin1');
  head.writeInt32BE(
    sizes.reduce((sum, size) => sum + LENGTH_BYTES + Math.max(size, 0), HEAD_BYTES - 1 + TAIL_BYTES),
    1,
  );
  head.writeInt16BE(values.length, HEAD_BYTES - 2);
  yield head;
  for (const [index, text] of texts.entries()) {
    const size = Buffer.alloc(LENGTH_BYTES);
    size.writeInt32BE(sizes[index] ?? -1);
    yield size;
    if (text instanceof LongText) yield* text.pieces(LONG_CHARACTERS);
    else if (text !== null) yield text;
  }
  yield Buffer.alloc(TAIL_BYTES);
}

/** −1 for NULL. */
function bytesOf(text: LongText | Buffer | null): number {
  if (text === null) return -1;
  if (!(text instanceof LongText)) return text.length;
  return text.parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
}
