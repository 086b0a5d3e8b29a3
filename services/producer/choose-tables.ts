import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { addColumnFacts } from '#adapters/postgres/source/column-facts.ts';
import { hasDebezium, type Config } from '#core/config.ts';
import type { TableStructure } from '#core/structure.ts';
import { requirePartitions } from './partition-book.ts';
import type { ProducerParts } from './producer-parts.ts';
import { requireIdentities } from './source-guard.ts';

/**
 * Those of the tables that source.tables chooses as the catalog has them now, their topics made.
 * @throws RestageError table_not_found, identity_missing, source_denied.
 */
export async function chooseTables(
  { config, ensureTopics }: Pick<ProducerParts, 'config' | 'ensureTopics'>,
  client: pg.Client,
  isWanted: (table: TableStructure) => boolean = () => true,
): Promise<TableStructure[]> {
  const found = await findTables(config, client, isWanted);
  await ensureTopics(found);
  return found;
}

/** The same without their topics. */
export async function findTables(
  config: Config,
  client: pg.Client,
  isWanted: (table: TableStructure) => boolean = () => true,
): Promise<TableStructure[]> {
  const found = (await readChosenTables(client, config)).filter(isWanted);
  await requireCapturable(client, config, found);
  return withFacts(config, client, found);
}

/** @throws RestageError identity_missing, source_not_ready, source_denied. */
export async function requireCapturable(
  client: pg.Client,
  { source }: Pick<Config, 'source'>,
  tables: readonly TableStructure[],
): Promise<void> {
  await requireIdentities(client, tables);
  if (source.partitions === 'roots') await requirePartitions(client, tables);
}

/** Their topics made, with all that structures tell in this pipeline. */
export async function takeTables(
  { config, ensureTopics }: Pick<ProducerParts, 'config' | 'ensureTopics'>,
  client: pg.Client,
  tables: TableStructure[],
): Promise<TableStructure[]> {
  await ensureTopics(tables);
  return withFacts(config, client, tables);
}

function withFacts(config: Config, client: pg.Client, tables: TableStructure[]): Promise<TableStructure[]> {
  return hasDebezium(config) ? addColumnFacts(client, tables) : Promise.resolve(tables);
}
