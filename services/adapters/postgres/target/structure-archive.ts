import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { formatTable, type TableName } from '#core/table-name.ts';
import { connectPg } from '../session.ts';
import { dumpStructure, findPgTools, listArchive, type PgTools } from './pg-dump.ts';
import { chooseEntries, formatList, parseList } from './restore-list.ts';
import { SchemaJournal } from './schema-journal.ts';

export interface StoreArchiveOptions {
  readonly sourceUrl: string;
  readonly targetClient: pg.ClientBase;
  /** The chosen tables, by their names in the source. */
  readonly tables: readonly TableName[];
  readonly pipeline: string;
}

export interface StructureArchive {
  readonly sourceMajor: number;
  readonly archive: Buffer;
  /** For `pg_restore --use-list`: what concerns the chosen tables. */
  readonly list: string;
}

/** What could not come along, as pg_dump names it; null when the archive of an earlier start is in use. */
export type StoreResult = { readonly leftOut: readonly string[] } | null;

/**
 * Dumps the source's structure into the target's `restage.archive`, once per pipeline: sinks never connect to the source.
 * Replaced as long as no table was made from it. @throws RestageError schema_tool, table_not_found or schema_differs.
 */
export async function storeArchive(options: StoreArchiveOptions): Promise<StoreResult> {
  const { targetClient, pipeline } = options;
  const journal = new SchemaJournal(targetClient, pipeline);
  if (await journal.isPreDataDone()) return null;
  const source = await readSource(options);
  const tools = await requireCopyable(source.major, targetClient);
  const archive = await dumpStructure(tools, options.sourceUrl);
  const choice = chooseEntries(
    parseList(await listArchive(tools, archive)),
    source.oids,
    await availableExtensions(targetClient),
  );
  await journal.create();
  await createArchiveTable(targetClient);
  await targetClient.query(
    `INSERT INTO restage.archive (pipeline, made_at, source_version, archive, list) VALUES ($1, now(), $2, $3, $4)
     ON CONFLICT (pipeline) DO UPDATE SET made_at = now(), source_version = excluded.source_version, archive = excluded.archive, list = excluded.list`,
    [pipeline, source.major, archive, formatList(choice.kept)],
  );
  return { leftOut: choice.leftOut };
}

/** The tools that copy a structure from a source of this version. @throws RestageError schema_differs for an older target, schema_tool. */
export async function requireCopyable(sourceMajor: number, target: pg.ClientBase): Promise<PgTools> {
  const targetMajor = await majorOf(target);
  if (targetMajor < sourceMajor) {
    throw new RestageError(
      'schema_differs',
      `the target is PostgreSQL ${targetMajor}, older than the source's ${sourceMajor}`,
      { where: 'schema: copy', fix: `use a target of version ${sourceMajor} or newer, or schema: create` },
    );
  }
  return findPgTools(sourceMajor);
}

/** null when nothing was stored for this pipeline. */
export async function loadArchive(client: pg.ClientBase, pipeline: string): Promise<StructureArchive | null> {
  const exists = await client.query("SELECT FROM pg_class WHERE oid = to_regclass('restage.archive')");
  if (exists.rowCount === 0) return null;
  const [row] = (
    await client.query<{ source_version: number; archive: Buffer; list: string }>(
      'SELECT source_version, archive, list FROM restage.archive WHERE pipeline = $1',
      [pipeline],
    )
  ).rows;
  return row === undefined ? null : { sourceMajor: row.source_version, archive: row.archive, list: row.list };
}

async function createArchiveTable(client: pg.ClientBase): Promise<void> {
  await client.query(`
    CREATE TABLE IF NOT EXISTS restage.archive (
      pipeline text PRIMARY KEY, made_at timestamptz NOT NULL, source_version integer NOT NULL, archive bytea NOT NULL, list text NOT NULL)`);
}

async function readSource(
  options: StoreArchiveOptions,
): Promise<{ readonly major: number; readonly oids: ReadonlySet<string> }> {
  const client = await connectPg({
    url: options.sourceUrl,
    purpose: 'source',
    application: `restage ${options.pipeline} schema`,
  });
  try {
    const major = await majorOf(client);
    const { rows } = await client.query<{ schema: string; table: string; oid: string | null; related: string[] }>(
      `SELECT t.schema, t.name AS table, c.oid::text AS oid,
              ARRAY(SELECT a.relid::oid::text FROM pg_partition_ancestors(c.oid) AS a(relid)
                     UNION SELECT d.relid::oid::text FROM pg_partition_tree(c.oid) AS d
                     UNION SELECT i.inhparent::text FROM pg_inherits i WHERE i.inhrelid = c.oid) AS related
         FROM unnest($1::text[], $2::text[]) AS t(schema, name)
         LEFT JOIN pg_namespace n ON n.nspname = t.schema
         LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name`,
      [options.tables.map((table) => table.schema), options.tables.map((table) => table.table)],
    );
    const missing = rows.filter((row) => row.oid === null);
    if (missing.length > 0) {
      throw new RestageError('table_not_found', 'chosen tables are not in the source', {
        where: missing.map(formatTable).join(', '),
      });
    }
    return { major, oids: new Set(rows.flatMap((row) => [row.oid ?? '', ...row.related])) };
  } finally {
    await client.end();
  }
}

async function availableExtensions(client: pg.ClientBase): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ name: string }>('SELECT name::text AS name FROM pg_available_extensions');
  return new Set(rows.map((row) => row.name));
}

/** 15 of 15.18. */
export async function majorOf(client: pg.ClientBase): Promise<number> {
  const [row] = (await client.query<{ server_version_num: string }>('SHOW server_version_num')).rows;
  return Math.floor(Number(row?.server_version_num ?? '0') / 10_000);
}
