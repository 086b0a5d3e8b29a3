import type pg from 'pg';

export interface TargetProgress {
  readonly rowsLoaded: number;
  readonly isLoadDone: boolean;
}

/** What the target says of the load so far. */
export async function readProgress(client: pg.Client): Promise<TargetProgress> {
  const known = await client.query<{ known: boolean }>(`SELECT to_regclass('restage.table_load') IS NOT NULL AS known`);
  if (known.rows[0]?.known !== true) return { rowsLoaded: 0, isLoadDone: false };
  const { rows } = await client.query<{ rows: string; done: boolean }>(
    `SELECT (SELECT coalesce(sum(rows), 0) FROM restage.chunk_ledger) AS rows, coalesce((SELECT bool_and(load_done) FROM restage.checkpoint), false) AS done`,
  );
  return { rowsLoaded: Number(rows[0]?.rows ?? 0), isLoadDone: rows[0]?.done ?? false };
}
