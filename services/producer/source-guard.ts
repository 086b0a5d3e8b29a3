import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { formatLsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable } from '#core/table-name.ts';
import { readSwitchPoint, type SourceIdentity } from '#adapters/postgres/source/source-identity.ts';
import { parseLsn } from '#core/lsn.ts';

/** @throws RestageError source_not_ready unless the server decodes its WAL: a stand-by does from PostgreSQL 16 on. */
export async function requireLogicalWal(client: pg.ClientBase): Promise<void> {
  const [row] = (
    await client.query<{ level: string; database: string; is_early: boolean }>(
      `SELECT current_setting('wal_level') AS level, current_database()::text AS database,
              pg_is_in_recovery() AND current_setting('server_version_num')::int < 160000 AS is_early`,
    )
  ).rows;
  if (row?.is_early === true) {
    throw new RestageError(
      'source_not_ready',
      'the source is a stand-by, which decodes WAL from PostgreSQL 16 on only',
      {
        where: `database ${row.database}`,
        fix: 'name its primary in source.postgres.url',
      },
    );
  }
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
 * After a promotion, or a recovery to a point in time, the server goes on with another timeline. It has the pipeline's history only where
 * it left the old one after everything that Kafka has. @throws RestageError source_replaced.
 */
export async function requireSameTimeline(
  replication: pg.Client,
  identity: SourceIdentity,
  last: Manifest | null,
): Promise<void> {
  if (last === null || identity.timeline === last.timeline) return;
  const left = await readSwitchPoint(replication, identity.timeline, last.timeline);
  if (left !== null && left >= parseLsn(last.through)) return;
  const where = left === null ? 'never' : `at ${formatLsn(left)}`;
  throw new RestageError('source_replaced', 'the source was rewound, or promoted before it had everything', {
    where: `timeline ${identity.timeline} left the pipeline's timeline ${last.timeline} ${where}; Kafka has everything up to ${last.through} of that`,
    fix: 'start the pipeline anew under another name, with empty targets',
  });
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
