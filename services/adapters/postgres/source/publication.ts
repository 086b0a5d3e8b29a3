import type pg from 'pg';
import { namesWhatIsGone, sqlStateOf } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteIdentifier, quoteLiteral, quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import { readPartitions } from './partitions.ts';
import { readTableOids } from './table-oids.ts';

const NOT_COVERED = 'does not cover';

/** The statement an owner runs where Restage's role may not. */
export function publicationSql(name: string, tables: readonly TableStructure[], major: number): string {
  const list = tables.map((table) => `ONLY ${quoteTable(table)}`).join(', ');
  const options = major >= 18 && tables.some(needsGenerated) ? ' WITH (publish_generated_columns = stored)' : '';
  return `CREATE PUBLICATION ${quoteIdentifier(name)} FOR TABLE ${list}${options}`;
}

export interface WantedPublication {
  readonly name: string;
  readonly pipeline: string;
  /** Nothing is captured yet: tables that ours does not cover are left to come as new ones. */
  readonly isFirst: boolean;
}

export interface EnsuredPublication {
  readonly isMade: boolean;
  /** Of the tables asked for: those that it covers. */
  readonly tables: readonly TableStructure[];
}

/**
 * Sees to it that a publication covers the tables: an owner-made one is used as it is, else ours is made, without the tables that go
 * meanwhile. @throws RestageError publication_missing with the SQL for the owner.
 */
export async function ensurePublication(
  client: pg.ClientBase,
  tables: readonly TableStructure[],
  { name, pipeline, isFirst }: WantedPublication,
): Promise<EnsuredPublication> {
  const isOwn = await isOwnPublication(client, name, pipeline);
  if (isOwn !== null) {
    const missing = isOwn && isFirst ? await findMissing(client, name, tables) : [];
    const covered = tables.filter((table) => !missing.includes(table));
    await requireCovered(client, name, covered);
    return { isMade: false, tables: covered };
  }
  for (let there = tables; ;) {
    try {
      await makePublication(client, name, there, pipeline);
      return { isMade: true, tables: there };
    } catch (error) {
      if (!namesWhatIsGone(error)) throw error;
      const oids = await readTableOids(client, there);
      const left = there.filter((table) => oids.has(tableKey(table)));
      if (left.length === there.length) throw error;
      there = left;
    }
  }
}

/** One transaction: what is made says by whom. */
async function makePublication(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
  pipeline: string,
): Promise<void> {
  const sql = await publicationSqlFor(client, name, tables);
  const note = `COMMENT ON PUBLICATION ${quoteIdentifier(name)} IS ${quoteLiteral(makersNote(pipeline))}`;
  try {
    await client.query(`${sql}; ${note}`);
  } catch (cause) {
    if (sqlStateOf(cause) === '42501') throw notMade(name, sql, cause);
    throw cause;
  }
}

/** The tables whose changes it does not send at all. */
async function findMissing(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
): Promise<readonly TableStructure[]> {
  return (await findPublicationGaps(client, name, tables)).find(({ what }) => what === NOT_COVERED)?.tables ?? [];
}

/** Whether Restage made it for this pipeline; null where there is none of this name. */
export async function isOwnPublication(client: pg.ClientBase, name: string, pipeline: string): Promise<boolean | null> {
  const [row] = (
    await client.query<{ note: string | null }>(
      `SELECT obj_description(oid, 'pg_publication') AS note FROM pg_publication WHERE pubname = $1`,
      [name],
    )
  ).rows;
  return row === undefined ? null : row.note === makersNote(pipeline);
}

function makersNote(pipeline: string): string {
  return `made by Restage for pipeline ${pipeline}`;
}

/**
 * What ensurePublication would refuse, with nothing made: publishing a table is its owner's right and takes CREATE on the
 * database (PostgreSQL: "CREATE PUBLICATION", Notes). @throws RestageError publication_missing.
 */
export async function requirePublishable(
  client: pg.ClientBase,
  tables: readonly TableStructure[],
  { name, pipeline, isFirst }: WantedPublication,
): Promise<void> {
  const isOwn = await isOwnPublication(client, name, pipeline);
  if (isOwn === true && isFirst) return;
  if (isOwn !== null) return requireCovered(client, name, tables);
  const { rowCount } = await client.query(
    `SELECT FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
      WHERE NOT pg_has_role(current_user, c.relowner, 'usage') OR NOT has_database_privilege(current_database(), 'create')`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  if (rowCount !== 0) throw notMade(name, await publicationSqlFor(client, name, tables));
}

function notMade(name: string, sql: string, cause?: unknown): RestageError {
  return new RestageError(
    'publication_missing',
    `the source has no publication ${name}, and the role may not make it`,
    {
      cause,
      where: `publication ${name}`,
      fix: `as the tables' owner: ${sql};`,
    },
  );
}

async function publicationSqlFor(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
): Promise<string> {
  const [version] = (await client.query<{ server_version_num: string }>('SHOW server_version_num')).rows;
  return publicationSql(name, tables, Math.floor(Number(version?.server_version_num ?? '0') / 10_000));
}

/** What a publication of this name lacks for the chosen tables, and the statement that mends it. */
export interface PublicationGap {
  readonly what: string;
  readonly tables: readonly TableStructure[];
  readonly fix: string;
}

/**
 * Adds to the publication what it lacks of the tables, and returns those.
 * @throws RestageError publication_missing where the role may not, transient where one goes meanwhile.
 */
export async function addMissing(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
): Promise<readonly TableStructure[]> {
  const missing = await findMissing(client, name, tables);
  if (missing.length === 0) return [];
  try {
    const gap = await coverTables(client, name, missing);
    if (gap !== null) throw notCovered(name, gap);
    return missing;
  } catch (cause) {
    if (!namesWhatIsGone(cause)) throw cause;
    throw new RestageError('transient', 'a table was dropped before it was copied', {
      where: missing.map(formatTable).join(', '),
      cause,
    });
  }
}

/**
 * Adds tables that came later to the publication, where the role may. Returns what then still keeps them from being captured, null for
 * nothing.
 */
export async function coverTables(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
): Promise<PublicationGap | null> {
  const [gap = null] = await findPublicationGaps(client, name, tables);
  if (gap === null || !gap.fix.includes(' ADD TABLE ')) return gap;
  try {
    await client.query(gap.fix);
  } catch (error) {
    if (sqlStateOf(error) !== '42501') throw error;
    return gap;
  }
  return (await findPublicationGaps(client, name, tables))[0] ?? null;
}

interface PublishedTable extends TableName {
  /** A row filter, a list of columns: of PostgreSQL 15 and newer. */
  readonly filter: string | null;
  /** null where the publication has no lists at all: then it has columns that others add or rename meanwhile, too. */
  readonly columns: string[] | null;
}

/** Asks for columns of the catalog by to_jsonb where older servers do not have them. */
export async function findPublicationGaps(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
): Promise<PublicationGap[]> {
  const { rows } = await client.query<PublishedTable>(
    `SELECT schemaname AS schema, tablename AS table, to_jsonb(p) ->> 'rowfilter' AS filter,
            CASE WHEN EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication b ON b.oid = r.prpubid
                               WHERE b.pubname = $1 AND to_jsonb(r) ->> 'prattrs' IS NOT NULL) THEN to_jsonb(p) -> 'attnames' END AS columns
       FROM pg_publication_tables p WHERE pubname = $1`,
    [name],
  );
  const [options] = (
    await client.query<{ by_root: boolean; generated: string | null; is_whole: boolean }>(
      `SELECT pubviaroot AS by_root, to_jsonb(p) ->> 'pubgencols' AS generated,
              pubinsert AND pubupdate AND pubdelete AND pubtruncate AS is_whole FROM pg_publication p WHERE pubname = $1`,
      [name],
    )
  ).rows;
  const covered = new Map(rows.map((row) => [tableKey(row), row]));
  const alter = `ALTER PUBLICATION ${quoteIdentifier(name)}`;
  const partitions = await readPublishedPartitions(client, name);
  const partsOf = (table: TableStructure): readonly TableName[] => partitions.get(tableKey(table))?.leaves ?? [table];
  const missing = tables.filter(
    (table) =>
      partitions.get(tableKey(table))?.isWhole === false || partsOf(table).some((part) => !covered.has(tableKey(part))),
  );
  const list = missing.map((table) => `ONLY ${quoteTable(table)}`).join(', ');
  const gaps: PublicationGap[] = [
    {
      what: NOT_COVERED,
      tables: missing,
      fix:
        options?.by_root === true
          ? `${alter} SET (publish_via_partition_root = false);`
          : `${alter} ADD TABLE ${list};`,
    },
    {
      what: 'leaves out rows or columns of',
      tables: tables.filter((table) => partsOf(table).some((part) => isCut(table, covered.get(tableKey(part))))),
      fix: `${alter} SET TABLE …; -- all of them anew, without WHERE and lists of columns`,
    },
    {
      what: 'does not publish every operation on',
      tables: options?.is_whole === false ? tables : [],
      fix: `${alter} SET (publish = 'insert, update, delete, truncate');`,
    },
    {
      what: 'makes the source refuse UPDATE and DELETE of',
      tables: options?.generated === 'n' ? tables.filter(needsGenerated) : [],
      fix: `${alter} SET (publish_generated_columns = stored);`,
    },
  ];
  return gaps.filter((gap) => gap.tables.length > 0);
}

interface PublishedPartitions {
  readonly leaves: readonly TableName[];
  /** Partitions to come are published too: the table itself is, not only those it has. */
  readonly isWhole: boolean;
}

/** Of every partitioned table, by tableKey. FOR TABLES IN SCHEMA is of PostgreSQL 15 and newer. */
async function readPublishedPartitions(client: pg.ClientBase, name: string): Promise<Map<string, PublishedPartitions>> {
  const hasSchemas = (await client.query(`SELECT WHERE to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL`))
    .rowCount;
  const bySchema =
    hasSchemas === 1
      ? 'EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)'
      : 'false';
  const { rows } = await client.query<TableName & { whole: boolean }>(
    `SELECT n.nspname AS schema, c.relname AS table,
            p.puballtables OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid) OR ${bySchema} AS whole
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_publication p ON p.pubname = $1
      WHERE c.relkind = 'p' AND NOT c.relispartition`,
    [name],
  );
  const partitions = await readPartitions(client, null);
  return new Map(
    rows.map((row) => [tableKey(row), { leaves: partitions.get(tableKey(row))?.leaves ?? [], isWhole: row.whole }]),
  );
}

function isCut(table: TableStructure, published: PublishedTable | undefined): boolean {
  if (published === undefined) return false;
  const { filter, columns } = published;
  if (filter !== null) return true;
  return columns !== null && table.columns.some((column) => !column.generated && !columns.includes(column.name));
}

/** An old row that is sent whole must be (PostgreSQL 18: "Generated Column Replication"). */
function needsGenerated({ identity, columns }: TableStructure): boolean {
  return identity.isFull && columns.some(({ generation }) => generation?.kind === 'stored');
}

async function requireCovered(client: pg.ClientBase, name: string, tables: readonly TableStructure[]): Promise<void> {
  const [gap] = await findPublicationGaps(client, name, tables);
  if (gap !== undefined) throw notCovered(name, gap);
}

function notCovered(name: string, { what, tables, fix }: PublicationGap): RestageError {
  return new RestageError(
    'publication_missing',
    `the publication ${name} ${what} ${tables.length} of the chosen tables`,
    {
      where: tables.slice(0, 8).map(formatTable).join(', '),
      fix: `as its owner: ${fix}`,
    },
  );
}
