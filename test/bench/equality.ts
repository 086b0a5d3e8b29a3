import { quoteTable } from '#core/table-name.ts';
import { connectPg } from '#adapters/postgres/session.ts';

interface Digest {
  readonly rows: string;
  /** Sums of two hashes of each row's text: equal for equal multisets of rows, whatever their order. */
  readonly first: string;
  readonly second: string;
}

/** What a benchmark proves in the end: every table of the source has the target's rows, as text under pinned settings. @throws Error naming the tables that differ. */
export async function requireEqual(source: string, target: string, leftOut: readonly string[] = []): Promise<void> {
  const [left, right] = await Promise.all([digestAll(source, 'source'), digestAll(target, 'target')]);
  const differing = [...left].filter(([table, digest]) => !leftOut.includes(table) && right.get(table) !== digest);
  if (left.size === 0) throw new Error('the source has no tables');
  if (differing.length > 0)
    throw new Error(
      `source and target differ: ${differing.map(([table, digest]) => `${table} ${digest} / ${right.get(table) ?? 'missing'}`).join('; ')}`,
    );
}

async function digestAll(url: string, purpose: 'source' | 'target'): Promise<Map<string, string>> {
  const client = await connectPg({ url, purpose, application: 'restage bench' });
  try {
    const { rows } = await client.query<{ schema: string; table: string }>(
      `SELECT schemaname AS schema, tablename AS table FROM pg_tables WHERE schemaname = 'public' ORDER BY 1, 2`,
    );
    const digests = new Map<string, string>();
    for (const table of rows) {
      const sql = `SELECT count(*)::text AS rows, coalesce(sum(hashtextextended(t.*::text, 0)), 0)::text AS first,
                          coalesce(sum(hashtextextended(t.*::text, 1)), 0)::text AS second FROM ${quoteTable(table)} AS t`;
      const [digest] = (await client.query<Digest>(sql)).rows;
      digests.set(table.table, `${digest?.rows} rows, ${digest?.first}, ${digest?.second}`);
    }
    return digests;
  } finally {
    await client.end();
  }
}
