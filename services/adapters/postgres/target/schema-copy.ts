import type pg from 'pg';
import { sqlStateOf } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TableMaker } from './journalled-schema.ts';
import { dropExcluded } from './drop-excluded.ts';
import { archiveSql, findPgTools } from './pg-dump.ts';
import { takePostData } from './post-data.ts';
import { keySteps } from './schema-create.ts';
import type { BuildStep } from './schema-journal.ts';
import { shapeRestored } from './shape-restored.ts';
import { loadArchive, type StructureArchive } from './structure-archive.ts';
import { requireAbsent, requireFitting } from './target-tables.ts';

const SCHEMA_ENTRY = /^\d+; 2615 \d+ SCHEMA - (.*) [^ ]+$/;

/**
 * `schema: copy`: the structure that pg_dump took from the source, restored from the archive in the target; the `rules` say how the target's
 * tables differ from the source's.
 *
 * One transaction restores everything, keys, indexes and triggers too, onto empty tables; renames tables and columns
 * there, so that PostgreSQL itself rewrites every definition; reads the definitions back; drops keys, indexes, foreign keys,
 * triggers and rules again; and journals the statements that bring them back after the load. So no SQL is ever parsed, and
 * renamed and plain tables go the same way.
 */
export function copiedTables(pipeline: string, rules: readonly RuleConfig[]): TableMaker {
  return {
    how: 'copy',
    makesTables: true,
    async prepare(client, tables) {
      await requireAbsent(client, tables);
      const archive = await loadArchive(client, pipeline);
      if (archive === null) throw noArchive();
      const tools = await findPgTools(archive.sourceMajor);
      const sql = await archiveSql(tools, archive.archive, await withoutSchemas(client, archive));
      return [{ tables, run: () => restore(client, sql, tables, rules) }];
    },
  };
}

async function restore(
  client: pg.Client,
  sql: string,
  tables: TableStructure[],
  rules: readonly RuleConfig[],
): Promise<BuildStep[]> {
  try {
    await client.query(sql);
  } catch (cause) {
    throw restoreError(cause);
  }
  const made = await shapeRestored(client, rules, tables);
  await dropExcluded(client, tables);
  await requireFitting(client, tables);
  const takenFrom = tables.filter((table) => !made.includes(table));
  return [...(await takePostData(client, takenFrom)), ...made.flatMap(keySteps), ...(await refreshes(client))];
}

/** Schemas that are there already are used, not made; `restage` itself is one of them. */
async function withoutSchemas(client: pg.ClientBase, archive: StructureArchive): Promise<string> {
  const lines: string[] = [];
  for (const line of archive.list.split('\n')) {
    const schema = SCHEMA_ENTRY.exec(line)?.[1];
    const exists =
      schema !== undefined &&
      (await client.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema])).rowCount === 1;
    if (!exists) lines.push(line);
  }
  return lines.join('\n');
}

/** Materialized views restored in this transaction have no rows yet. */
async function refreshes(client: pg.ClientBase): Promise<BuildStep[]> {
  const { rows } = await client.query<{ schema: string; table: string; quoted: string }>(
    `SELECT n.nspname AS schema, c.relname AS table, pg_catalog.format('%I.%I', n.nspname, c.relname) AS quoted
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'm' AND NOT c.relispopulated AND c.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid
      ORDER BY c.oid`,
  );
  return rows.map(({ schema, table, quoted }) => ({
    phase: 'refresh',
    table: { schema, table },
    name: '',
    sql: `REFRESH MATERIALIZED VIEW ${quoted}`,
  }));
}

function noArchive(): RestageError {
  return new RestageError('schema_missing', 'the target holds no structure of the source yet', {
    where: 'restage.archive',
    fix: 'start the pipeline with restage run, or run restage schema copy --section pre-data for this target',
  });
}

function restoreError(cause: unknown): unknown {
  if (!(cause instanceof Error)) return cause;
  return new RestageError('schema_differs', `the target refuses the source's structure: ${cause.message}`, {
    where:
      'detail' in cause && typeof cause.detail === 'string'
        ? cause.detail
        : 'restoring the structure, all of it undone',
    fix:
      sqlStateOf(cause) === '53200'
        ? 'raise max_locks_per_transaction at the target: one transaction makes everything, and takes some five locks a table'
        : 'mend what the message names at the target (drop what is in the way, install the extension, grant the right), then start again',
    cause,
  });
}
