import { pgbench } from '../../harness/pgbench.ts';
import { currentLsn } from '../pipeline.ts';

/** A transformer's work on pgbench: every event of the largest table is parsed and written anew. */
export const RULE = '{ table: public.pgbench_accounts, columns: { rename: { filler: padding } } }';
const CHANGES_PER_TRANSACTION = 4;
const CLIENTS = 4;

export async function fillPgbench(url: string, scale: number): Promise<void> {
  await pgbench(url, ['-i', '-q', '-s', String(scale)]).ended;
}

/** Makes a backlog; returns the changes in it and the LSN after it. */
export async function makeBacklog(url: string, transactions: number): Promise<{ changes: number; lsn: string }> {
  const each = Math.ceil(transactions / CLIENTS);
  await pgbench(url, ['-n', '-c', String(CLIENTS), '-j', '2', '-t', String(each)]).ended;
  return { changes: each * CLIENTS * CHANGES_PER_TRANSACTION, lsn: await currentLsn(url) };
}

/** Accounts, branches and tellers. */
export function rowsOf(scale: number): number {
  return scale * 100_011;
}
