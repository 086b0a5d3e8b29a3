import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { formatLsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable } from '#core/table-name.ts';
import type { SourceIdentity } from '#adapters/postgres/source/source-identity.ts';
import { parseLsn } from '#core/lsn.ts';

/** @throws RestageError source_not_ready unless the server decodes its WAL. */
export async function requireLogicalWal(client: pg.ClientBase): Promise<void> {
  const [row] = (
    await client.query<{ level: string; database: string }>(
      `SELECT current_setting('wal_level') AS level, current_database()::text AS database`,
    )
  ).rows;
  if (row?.level === 'logical') return;
  throw new RestageError(
    'source_not_ready',
    `the source runs with wal_level = ${row?.level ?? 'unknown'}, and changes can only be read with logical`,
    {
      where: `database ${row?.database ?? 'unknown'}`,
      fix: 'ALTER SYSTEM SET wal_level = logical; then restart the server',
    },
  );
}

/** @throws RestageError source_replaced when the server behind the address is not the one that Kafka's history came from. */
export function requireSameSource(identity: SourceIdentity, last: Manifest | null): void {
  if (last === null) return;
  if (identity.systemId !== last.systemId) {
    throw new RestageError('source_replaced', "another database cluster answers at the source's address", {
      where: `system identifier ${identity.systemId}, the pipeline's is ${last.systemId}`,
      fix: 'correct source.postgres.url, or start a pipeline of another name for this cluster',
    });
  }
  if (identity.timeline < last.timeline || identity.position < parseLsn(last.through)) {
    throw new RestageError('source_replaced', 'the source was rewound: it is behind what Kafka already has', {
      where: `source at ${formatLsn(identity.position)} on timeline ${identity.timeline}, Kafka at ${last.through} on timeline ${last.timeline}`,
      fix: 'start the pipeline anew under another name',
    });
  }
}

/**
 * A published table without an identity makes the source itself refuse UPDATE and DELETE, so it must not come to that.
 * Tables that only ever got INSERTs pass. @throws RestageError identity_missing.
 */
export async function requireIdentities(client: pg.ClientBase, tables: readonly TableStructure[]): Promise<void> {
  const without = tables.filter((table) => table.identity.kind === 'nothing');
  if (without.length === 0) return;
  const { rows } = await client.query<{ schema: string; table: string; changes: string }>(
    `SELECT schemaname AS schema, relname AS table, (n_tup_upd + n_tup_del)::text AS changes FROM pg_stat_user_tables
      WHERE n_tup_upd + n_tup_del > 0`,
  );
  const changed = without.filter((table) =>
    rows.some((row) => row.schema === table.schema && row.table === table.table),
  );
  if (changed.length === 0) return;
  throw new RestageError('identity_missing', 'tables without a usable replica identity get UPDATEs or DELETEs', {
    where: changed.map(formatTable).join(', '),
    fix: changed.map((table) => `ALTER TABLE ${quoteTable(table)} REPLICA IDENTITY FULL;`).join(' '),
  });
}
