/** A header's value among the bytes of headers that are as long in every record. */
interface HeaderField {
  readonly name: string;
  readonly from: number;
  readonly bytes: number;
}

/** Headers of which only the values differ, each always of so many bytes; the last is the 4 bytes of `structure`. */
export class HeaderLayout {
  /** Encoded, with values of zeros. */
  readonly template: Buffer;
  readonly fields: readonly HeaderField[];
  /** The template again, for whoever writes another structure into it. */
  readonly restructured: Buffer;
  readonly structureAt: number;
  /** What stands between the values: from, to. */
  readonly #fixed: readonly (readonly [from: number, to: number])[];

  constructor(values: readonly (readonly [name: string, bytes: number])[]) {
    this.template = encodeHeaders(values.map(([name, bytes]) => [name, Buffer.alloc(bytes)]));
    this.restructured = Buffer.from(this.template);
    this.structureAt = this.template.length - 4;
    let at = 1;
    let end = 0;
    const fixed: [number, number][] = [];
    this.fields = values.map(([name, bytes]): HeaderField => {
      // Lengths of names and values take a byte each.
      const from = at + 1 + name.length + 1;
      fixed.push([end, from]);
      end = from + bytes;
      at = end;
      return { name, from, bytes };
    });
    this.#fixed = fixed;
  }

  /** Where a header's value begins. */
  placeOf(name: string): number {
    return this.field(name)?.from ?? -1;
  }

  field(name: string): HeaderField | undefined {
    return this.fields.find((field) => field.name === name);
  }

  /** These headers, and no others, stand there. */
  matches(bytes: Buffer, from: number, end: number): boolean {
    if (end - from !== this.template.length) return false;
    for (const [start, stop] of this.#fixed)
      for (let index = start; index < stop; index += 1) if (bytes[from + index] !== this.template[index]) return false;
    return true;
  }
}

/** Headers as they stand in a batch, taken apart when they are asked for: most are only asked for their numbers. */
export abstract class FixedHeaders implements ReadonlyMap<string, Buffer> {
  readonly size: number;
  readonly #layout: HeaderLayout;
  protected readonly bytes: Buffer;
  protected readonly at: number;

  constructor(layout: HeaderLayout, bytes: Buffer, at: number) {
    this.#layout = layout;
    this.bytes = bytes;
    this.at = at;
    this.size = layout.fields.length;
  }

  /** Encoded, but of another structure. One buffer, reused: copy it out before the next call. */
  encode(structure: number): Buffer {
    const { restructured, structureAt } = this.#layout;
    this.bytes.copy(restructured, 0, this.at, this.at + restructured.length);
    restructured.writeUInt32BE(structure, structureAt);
    return restructured;
  }

  get(name: string): Buffer | undefined {
    const field = this.#layout.field(name);
    return field === undefined ? undefined : this.#view(field);
  }

  has(name: string): boolean {
    return this.#layout.field(name) !== undefined;
  }

  entries(): MapIterator<[string, Buffer]> {
    return this.#map().entries();
  }

  keys(): MapIterator<string> {
    return this.#map().keys();
  }

  values(): MapIterator<Buffer> {
    return this.#map().values();
  }

  forEach(take: (value: Buffer, name: string, map: ReadonlyMap<string, Buffer>) => void): void {
    this.#map().forEach(take);
  }

  [Symbol.iterator](): MapIterator<[string, Buffer]> {
    return this.entries();
  }

  #view({ from, bytes }: HeaderField): Buffer {
    return this.bytes.subarray(this.at + from, this.at + from + bytes);
  }

  #map(): Map<string, Buffer> {
    return new Map(this.#layout.fields.map((field) => [field.name, this.#view(field)]));
  }
}

/** As record format 2 wants them: count, then length-prefixed names and values. */
export function encodeHeaders(headers: readonly (readonly [string, Buffer])[]): Buffer {
  const parts: Buffer[] = [varint(headers.length)];
  for (const [name, value] of headers)
    parts.push(varint(Buffer.byteLength(name)), Buffer.from(name), varint(value.length), value);
  return Buffer.concat(parts);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value * 2;
  while (rest > 127) {
    bytes.push((rest & 127) | 128);
    rest >>>= 7;
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** Of a record that has none. */
export const NO_HEADERS = encodeHeaders([]);
