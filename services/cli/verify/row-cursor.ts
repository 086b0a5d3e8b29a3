import type pg from 'pg';

const ROWS_A_FETCH = 5_000;

/** The identity's texts, or the row's md5 for a table without one. */
export type SuspectKey = readonly string[];

/** Rows through a cursor, some thousand at a time (invariant 6); in the caller's transaction. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- rows are what the caller's SQL gives
export async function eachFetched<T extends pg.QueryResultRow>(
  client: pg.ClientBase,
  sql: string,
  values: readonly unknown[],
  signal: AbortSignal | null,
  take: (row: T) => void,
): Promise<void> {
  await client.query(`DECLARE verify_rows NO SCROLL CURSOR FOR ${sql}`, [...values]);
  for (;;) {
    signal?.throwIfAborted();
    const { rows } = await client.query<T>(`FETCH ${ROWS_A_FETCH} FROM verify_rows`);
    for (const row of rows) take(row);
    if (rows.length < ROWS_A_FETCH) break;
  }
  await client.query('CLOSE verify_rows');
}
