import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteIdentifier, quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import type { LateTable } from '#core/target-schema.ts';
import { runSingle } from '../single-statement.ts';
import { run } from './alter-table.ts';
import { createEnums, createTable, keySteps } from './schema-create.ts';
import { ensureSchema } from './table-change.ts';
import { presentTables, requireEmpty, requireFitting } from './target-tables.ts';

/**
 * Tables that came at the source after the load: those that are not in the target are made from the captured structure, with their keys,
 * since they are empty; a partition as one of the same table where the target has that. Those that are there must fit, and be empty.
 * `mayMake` false: they are somebody else's to make. In the caller's transaction.
 * @throws RestageError schema_missing, schema_differs, target_not_empty or ddl_unsupported.
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
  const moved = await renameTables(client, tables, present);
  const partitions = new Set<string>();
  for (const table of tables) {
    if (moved.has(tableKey(table.structure))) continue;
    if (mayMake && !present.has(tableKey(table.structure))) await makeTable(client, table);
    // It has its table's columns, which are altered together, with all partitions' rows.
    if (table.bounds !== undefined && (await isPartitioned(client, table.bounds.parent)))
      partitions.add(tableKey(table.structure));
  }
  const structures = tables.map(({ structure }) => structure).filter((table) => !moved.has(tableKey(table)));
  const plain = structures.filter((table) => !partitions.has(tableKey(table)));
  // Labels that their enums got meanwhile are added once the tables are there.
  await requireFitting(client, plain, 'to come');
  await requireEmpty(client, structures);
}

/**
 * Those that were renamed at the source get their new names here too, with their keys and all that refers to them; their rows and columns
 * are exchanged for the load's. One that has its new name already, and nothing has the old one, was renamed before. By tableKey.
 */
async function renameTables(
  client: pg.ClientBase,
  tables: readonly LateTable[],
  present: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  const moved = new Set<string>();
  for (const { structure, renamedFrom } of tables) {
    if (renamedFrom === undefined) continue;
    const [isThere, wasThere] = [present.has(tableKey(structure)), await isPresent(client, renamedFrom)];
    if (isThere === wasThere) continue;
    if (wasThere) await renameTable(client, renamedFrom, structure);
    moved.add(tableKey(structure));
  }
  return moved;
}

async function renameTable(client: pg.ClientBase, from: TableName, to: TableStructure): Promise<void> {
  const where = `renamed at the source, from ${formatTable(from)}`;
  if (from.schema !== to.schema) {
    await ensureSchema(client, to.schema);
    await run(client, to, `ALTER TABLE ${quoteTable(from)} SET SCHEMA ${quoteIdentifier(to.schema)}`, where);
  }
  if (from.table === to.table) return;
  const moving = quoteTable({ schema: to.schema, table: from.table });
  await run(client, to, `ALTER TABLE ${moving} RENAME TO ${quoteIdentifier(to.table)}`, where);
}

async function isPresent(client: pg.ClientBase, table: TableName): Promise<boolean> {
  const found = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('r', 'p')`, [
    quoteTable(table),
  ]);
  return found.rowCount === 1;
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
    await runSingle(client, `CREATE TABLE ${quoteTable(structure)} PARTITION OF ${quoteTable(parent)} ${sql}`);
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
