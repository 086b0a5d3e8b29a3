import { lsnOf, type Lsn } from '#core/lsn.ts';
import { readUint53, readUint64, writeUint53 } from '#core/uint53.ts';

/**
 * Where an event stands in the source's history: the commit LSN of its transaction and its ordinal in
 * it (1, 2, …, counted over every row message before any filter). Never a row's own LSN: rows of one COPY
 * share one, and the LSNs of interleaved transactions are not monotone in commit order.
 */
export interface Position {
  readonly commit: Lsn;
  readonly ordinal: number;
}

export const POSITION_BYTES = 16;

export function comparePositions(a: Position, b: Position): number {
  if (a.commit !== b.commit) return a.commit < b.commit ? -1 : 1;
  return a.ordinal - b.ordinal;
}

/** Writes the `pos` header: commit LSN, then ordinal, both 64-bit big-endian, so bytes sort as positions do. */
export function writePosition(target: Buffer, offset: number, position: Position): void {
  target.writeBigUInt64BE(position.commit, offset);
  writeUint53(target, offset + 8, position.ordinal);
}

/** @throws RangeError when fewer than 16 bytes are there. */
export function readPosition(source: Buffer, offset = 0): Position {
  return { commit: lsnOf(readUint64(source, offset)), ordinal: readUint53(source, offset + 8) };
}
