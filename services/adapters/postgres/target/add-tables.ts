import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable, tableKey } from '#core/table-name.ts';
import type { LateTable } from '#core/target-schema.ts';
import { createEnums, createTable, keySteps } from './schema-create.ts';
import { ensureSchema } from './table-change.ts';
import { presentTables, requireEmpty, requireFitting } from './target-tables.ts';

/**
 * Tables that came at the source after the load: those that are not in the target are made from the captured structure, with their keys,
 * since they are empty; a partition as one of the same table where the target has that. Those that are there must fit, and be empty.
 * `mayMake` false: they are somebody else's to make. In the caller's transaction.
 * @throws RestageError schema_missing, schema_differs or target_not_empty.
 */
export async function addTables(client: pg.ClientBase, tables: readonly LateTable[], mayMake: boolean): Promise<void> {
  const present = new Set(
    (
      await presentTables(
        client,
        tables.map(({ structure }) => structure),
      )
    ).map(tableKey),
  );
  for (const table of tables) {
    if (mayMake && !present.has(tableKey(table.structure))) await makeTable(client, table);
  }
  const structures = tables.map(({ structure }) => structure);
  await requireFitting(client, structures);
  await requireEmpty(client, structures);
}

async function makeTable(client: pg.ClientBase, { structure, bounds }: LateTable): Promise<void> {
  await ensureSchema(client, structure.schema);
  await createEnums(client, [structure]);
  if (bounds !== undefined && (await isPartitioned(client, bounds.parent))) {
    await makePartition(client, structure, bounds);
    return;
  }
  await createTable(client, structure);
  for (const { sql } of keySteps(structure)) await client.query(sql);
}

/** Keys, indexes and foreign keys come with it (PostgreSQL: "CREATE TABLE", PARTITION OF). The bounds are the source's own words. */
async function makePartition(
  client: pg.ClientBase,
  structure: TableStructure,
  { parent, sql }: NonNullable<LateTable['bounds']>,
): Promise<void> {
  try {
    const statement: pg.QueryConfig & { queryMode: 'extended' } = {
      text: `CREATE TABLE ${quoteTable(structure)} PARTITION OF ${quoteTable(parent)} ${sql}`,
      queryMode: 'extended',
    };
    await client.query(statement);
  } catch (cause) {
    throw new RestageError(
      'schema_missing',
      `cannot make ${formatTable(structure)}: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        where: `a partition of ${formatTable(parent)}, ${sql}`,
        fix: 'make it at the target by hand; the sink goes on',
        cause,
      },
    );
  }
}

async function isPartitioned(client: pg.ClientBase, table: { schema: string; table: string }): Promise<boolean> {
  const { rowCount } = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'p'`, [
    quoteTable(table),
  ]);
  return rowCount === 1;
}
