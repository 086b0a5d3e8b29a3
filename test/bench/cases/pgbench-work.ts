import { pgbench } from '../../harness/pgbench.ts';
import { currentLsn } from '../pipeline.ts';
import type { Work } from '../work.ts';

const CHANGES_PER_TRANSACTION = 4;
const CLIENTS = 4;

/** pgbench's tables and its TPC-B-like transactions: narrow rows, many small commits, hot branches. */
export const pgbenchWork: Work = {
  name: 'pgbench',
  rule: '{ table: public.pgbench_accounts, columns: { rename: { filler: padding } } }',
  // Accounts, branches and tellers.
  rows: ({ scale }) => scale * 100_011,
  async fill(url, { scale }) {
    await pgbench(url, ['-i', '-q', '-s', String(scale)]).ended;
  },
  async makeBacklog(url, { transactions }) {
    const each = Math.ceil(transactions / CLIENTS);
    await pgbench(url, ['-n', '-c', String(CLIENTS), '-j', '2', '-t', String(each)]).ended;
    return { changes: each * CLIENTS * CHANGES_PER_TRANSACTION, lsn: await currentLsn(url) };
  },
};
