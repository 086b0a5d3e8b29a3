import type pg from 'pg';
import type { Check, Finding } from './finding.ts';
import { eachTarget } from './target-checks.ts';

/** Of one table while its structure is restored: itself, its TOAST table and that one's index, keys. */
const LOCKS_RESTORED = 5;
/** The fence of a cutover locks every table; so does pg_dump. */
const LOCKS_FENCED = 1;
/** Others want locks meanwhile. */
const MOST_SHARE = 0.8;

/** Some transactions lock every table at once, and a server's table of locks is sized when it starts. */
export const LOCK_CHECKS: readonly Check[] = [
  {
    id: 'source.locks',
    severity: 'warn',
    run: async ({ source, tables }) => judgeLocks(tables.length * LOCKS_FENCED, await readLockSettings(source)),
  },
  {
    id: 'target.locks',
    severity: 'warn',
    run: eachTarget(async ({ client, config, tables }) => {
      const each = config.schema === 'copy' ? LOCKS_RESTORED : LOCKS_FENCED;
      return judgeLocks(tables.length * each, await readLockSettings(client));
    }),
  },
];

export interface LockSettings {
  readonly each: number;
  /** Sessions and prepared transactions that may be. */
  readonly transactions: number;
}

/** `needed`: locks that one transaction takes. The table of locks has room for somewhat more than the settings say (PostgreSQL: max_locks_per_transaction). */
export function judgeLocks(needed: number, { each, transactions }: LockSettings): Finding[] {
  const most = each * transactions;
  if (needed <= most * MOST_SHARE) return [];
  return [
    {
      what: 'the server may run out of locks: the structure of all tables is copied in one transaction, and a cutover locks them all in one',
      evidence: `some ${needed} locks in one transaction; max_locks_per_transaction = ${each}, for ${transactions} transactions: ${most}`,
      fix: `ALTER SYSTEM SET max_locks_per_transaction = ${Math.ceil(needed / MOST_SHARE / transactions)}; -- then restart the server`,
    },
  ];
}

async function readLockSettings(client: pg.ClientBase): Promise<LockSettings> {
  const { rows } = await client.query<LockSettings>(
    `SELECT current_setting('max_locks_per_transaction')::int AS each,
            current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int AS transactions`,
  );
  return rows[0] ?? { each: 0, transactions: 0 };
}
