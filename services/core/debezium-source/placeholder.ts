import { nameUuid } from '#core/debezium/type-map.ts';
import { entriesOf, listOf, type WireValue } from './wire-value.ts';

/**
 * Whether a value stands for a TOASTed one that an UPDATE left alone, in any of the forms that Debezium gives the placeholder
 * (Debezium: "unavailable.value.placeholder").
 */
export class Placeholder {
  readonly #text: string;
  readonly #bytes: Buffer;
  readonly #texts: ReadonlySet<string>;

  /** As it is configured: `hex:` may stand before its bytes. */
  constructor(configured: string) {
    const bytes = configured.startsWith('hex:') ? Buffer.from(configured.slice(4), 'hex') : Buffer.from(configured);
    const text = bytes.toString('utf8');
    this.#bytes = bytes;
    this.#text = text;
    this.#texts = new Set([
      text,
      bytes.toString('base64'),
      bytes.toString('base64url'),
      bytes.toString('hex'),
      JSON.stringify({ [text]: text }),
      nameUuid(text),
    ]);
  }

  is(value: WireValue): boolean {
    if (typeof value === 'string') return this.#texts.has(value);
    if (Buffer.isBuffer(value)) return value.equals(this.#bytes);
    const entries = entriesOf(value);
    if (entries !== null) return entries.size === 1 && entries.get(this.#text) === this.#text;
    const list = listOf(value);
    if (list === null) return false;
    const [first] = list;
    if (list.length === 1 && first !== null && first !== undefined && typeof first !== 'bigint') return this.is(first);
    return list.length === this.#bytes.length && list.every((one, at) => one === BigInt(this.#bytes[at] ?? -1));
  }
}
