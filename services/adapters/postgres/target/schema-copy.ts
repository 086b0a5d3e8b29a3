import type pg from 'pg';
import type { Failpoints } from '#core/failpoints.ts';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey } from '#core/table-name.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import { archiveSql, findPgTools } from './pg-dump.ts';
import { takePostData } from './post-data.ts';
import type { SchemaBuild } from './schema-build.ts';
import { SchemaJournal, type BuildStep } from './schema-journal.ts';
import { loadArchive, type StructureArchive } from './structure-archive.ts';
import { applyTableChanges, type TableChange } from './table-change.ts';
import { requireAbsent, requireFitting } from './target-tables.ts';

export interface SchemaCopyOptions {
  readonly pipeline: string;
  /** How the target's tables differ from the source's; empty when they are the same. */
  readonly changes: readonly TableChange[];
  readonly connect: () => Promise<pg.Client>;
  readonly failpoints: Failpoints;
}

const SCHEMA_ENTRY = /^\d+; 2615 \d+ SCHEMA - (.*) [^ ]+$/;

/**
 * `schema: copy`: the structure that pg_dump took from the source, restored from the archive in the target.
 *
 * One transaction restores everything, keys, indexes and triggers too, onto empty tables; renames tables and columns
 * there, so that PostgreSQL itself rewrites every definition; reads the definitions back; drops keys, indexes, foreign keys,
 * triggers and rules again; and journals the statements that bring them back after the load. So no SQL is ever parsed, and
 * renamed and plain tables go the same way. The transaction ends with the journal's entry: a crash leaves all or nothing.
 */
export class SchemaCopy implements TargetSchema {
  readonly makesTables = true;
  readonly #options: SchemaCopyOptions;
  readonly #build: SchemaBuild;

  constructor(options: SchemaCopyOptions, build: SchemaBuild) {
    this.#options = options;
    this.#build = build;
  }

  async preData(tables: TableStructure[]): Promise<void> {
    const client = await this.#options.connect();
    try {
      const journal = new SchemaJournal(client, this.#options.pipeline);
      if (await journal.isPreDataDone()) {
        await requireFitting(client, tables);
        return;
      }
      await requireAbsent(client, tables);
      const archive = await loadArchive(client, this.#options.pipeline);
      if (archive === null) throw noArchive();
      await journal.create();
      const sql = await archiveSql(
        await findPgTools(archive.sourceMajor),
        archive.archive,
        await withoutSchemas(client, archive),
      );
      await client.query('BEGIN');
      await this.#restore(client, sql, tables);
      this.#options.failpoints.hit('sink.preData.before');
      await client.query('COMMIT');
      this.#options.failpoints.hit('sink.preData.after');
    } finally {
      await client.end();
    }
  }

  postLoad(): Promise<void> {
    return this.#build.postLoad();
  }

  whenCaughtUp(): Promise<void> {
    return this.#build.whenCaughtUp();
  }

  async #restore(client: pg.Client, sql: string, tables: TableStructure[]): Promise<void> {
    try {
      await client.query(sql);
    } catch (cause) {
      throw restoreError(cause);
    }
    const kept = new Set(tables.map(tableKey));
    await applyTableChanges(
      client,
      this.#options.changes.filter((change) => kept.has(tableKey(change.rename ?? change.table))),
    );
    await requireFitting(client, tables);
    const steps = await takePostData(client, tables);
    await new SchemaJournal(client, this.#options.pipeline).finishPreData([...steps, ...(await refreshes(client))], {
      how: 'copy',
      tables: tables.map(({ schema, table }) => ({ schema, table })),
    });
  }
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
    fix: 'mend what the message names at the target (drop what is in the way, install the extension, grant the right), then start again',
    cause,
  });
}
