/** How many chunks a table's keys are hashed into, at most: three hexadecimal digits of an md5. */
export const MOST_CHUNKS = 4_096;

const ROWS_PER_CHUNK = 256;

export interface ChunkDigest {
  readonly rows: number;
  /** Sum of the rows' hashes as signed 64-bit numbers: order-free, and two equal rows count twice. */
  readonly sum: bigint;
}

/** Digests by chunk number, added up from any number of partial scans of one snapshot. */
export class ChunkDigests {
  readonly #digests = new Map<number, ChunkDigest>();

  get rows(): number {
    let rows = 0;
    for (const digest of this.#digests.values()) rows += digest.rows;
    return rows;
  }

  add(chunk: number, digest: ChunkDigest): void {
    const known = this.#digests.get(chunk);
    this.#digests.set(
      chunk,
      known === undefined ? digest : { rows: known.rows + digest.rows, sum: known.sum + digest.sum },
    );
  }

  rowsOf(chunk: number): number {
    return this.#digests.get(chunk)?.rows ?? 0;
  }

  /** Chunks that do not hold the same rows on both sides, in order. */
  unequal(other: ChunkDigests): number[] {
    const chunks = new Set([...this.#digests.keys(), ...other.#digests.keys()]);
    return [...chunks]
      .filter((chunk) => !isSame(this.#digests.get(chunk), other.#digests.get(chunk)))
      .toSorted((a, b) => a - b);
  }
}

function isSame(a: ChunkDigest | undefined, b: ChunkDigest | undefined): boolean {
  return (a?.rows ?? 0) === (b?.rows ?? 0) && (a?.sum ?? 0n) === (b?.sum ?? 0n);
}

/** A power of two, so that a mask finds the chunk; both sides must use the same. */
export function chunkCount(rows: number): number {
  let count = 1;
  while (count < MOST_CHUNKS && count * ROWS_PER_CHUNK < rows) count *= 2;
  return count;
}

/** A row's hash as SQL's `('x' || left(md5, 16))::bit(64)::bigint` gives it. */
export function hashNumber(md5: string): bigint {
  return BigInt.asIntN(64, BigInt(`0x${md5.slice(0, 16)}`));
}

/** Groups of chunks with at most so many rows each (one chunk may hold more), so that memory stays bounded (invariant 6). */
export function groupChunks(
  chunks: readonly number[],
  rowsOf: (chunk: number) => number,
  mostRows: number,
): number[][] {
  const groups: number[][] = [];
  let rows = Infinity;
  for (const chunk of chunks) {
    const more = rowsOf(chunk);
    if (rows + more > mostRows) {
      groups.push([]);
      rows = 0;
    }
    groups.at(-1)?.push(chunk);
    rows += more;
  }
  return groups;
}
