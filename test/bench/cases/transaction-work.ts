import { query } from '../bench-servers.ts';
import { currentLsn } from '../pipeline.ts';
import type { Work } from '../work.ts';
import { BIG_RULE, BIG_TABLE } from './big-table.ts';

/** Before the transaction. */
const ROWS = 1_000;
/** Of the transaction, for each 1 of scale. */
const CHANGES_PER_SCALE = 1_000_000;

/** One transaction of a million narrow rows for each 1 of scale: what has to be held somewhere until its commit. */
export const transactionWork: Work = {
  name: 'transaction',
  rule: BIG_RULE,
  rows: () => ROWS,
  async fill(url) {
    await query(url, BIG_TABLE);
    await insert(url, 0, ROWS);
  },
  async makeBacklog(url, { scale }) {
    const changes = scale * CHANGES_PER_SCALE;
    await insert(url, ROWS, changes);
    return { changes, lsn: await currentLsn(url) };
  },
};

async function insert(url: string, from: number, count: number): Promise<void> {
  await query(
    url,
    `INSERT INTO public.big SELECT id, id % 1000, md5(id::text) FROM generate_series($1::bigint, $2) AS id`,
    [from + 1, from + count],
  );
}
