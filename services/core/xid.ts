/** PostgreSQL: "Transaction IDs and Wraparound"; the first three are those of frozen rows. */
export function isAfter(xid: number, other: number): boolean {
  return xid > 2 && ((xid - other) | 0) > 0;
}
