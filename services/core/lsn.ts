/**
 * A write-ahead log location: an unsigned 64-bit byte offset into the source's WAL.
 * Text form `X/Y`, both halves hexadecimal (PostgreSQL: "pg_lsn Type").
 */
export type Lsn = bigint & { readonly __lsn: unique symbol };

/** The LSN before every other; PostgreSQL writes it for "none". */
export const LSN_ZERO = 0n as Lsn;

export function lsnOf(value: bigint): Lsn {
  return value as Lsn;
}

/** @throws RangeError when the text is not an LSN. */
export function parseLsn(text: string): Lsn {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (match === null) throw new RangeError(`not an LSN: ${JSON.stringify(text)}`);
  return lsnOf((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`));
}

export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}

export function maxLsn(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b;
}
