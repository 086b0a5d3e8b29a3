import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { addColumnFacts } from '#adapters/postgres/source/column-facts.ts';
import { hasDebezium } from '#core/config.ts';
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
  const found = (await readChosenTables(client, config)).filter(isWanted);
  await requireIdentities(client, found);
  if (config.source.partitions === 'roots') await requirePartitions(client, found);
  const chosen = hasDebezium(config) ? await addColumnFacts(client, found) : found;
  await ensureTopics(chosen);
  return chosen;
}
