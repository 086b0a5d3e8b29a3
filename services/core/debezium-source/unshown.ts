/** The connector that a topic's events are of, and where its newest snapshot with a row of the table stood in the WAL; 0 for none. */
export interface ShownState {
  readonly server: string;
  readonly lsn: bigint;
}

/**
 * Topics of which a snapshot showed no row that others of the same connector were in later, with the place of that snapshot. Debezium writes
 * nothing of a table that is empty then, and nothing of one that its snapshot leaves out: which of the two it was is not in the topics.
 */
export function findUnshown(
  states: Iterable<readonly [topic: string, shown: ShownState | null]>,
): ReadonlyMap<string, bigint> {
  const all = [...states].flatMap(([topic, shown]) => (shown === null ? [] : [{ topic, ...shown }]));
  const newest = new Map<string, bigint>();
  for (const { server, lsn } of all) if (lsn > (newest.get(server) ?? 0n)) newest.set(server, lsn);
  return new Map(
    all.flatMap(({ topic, server, lsn }) => {
      const last = newest.get(server) ?? 0n;
      return lsn < last ? [[topic, last] as const] : [];
    }),
  );
}
