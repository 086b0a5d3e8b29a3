import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { findOutput } from '#core/output-ref.ts';
import { isChosen } from '#core/table-patterns.ts';
import { sourceKey } from '#core/migration/together.ts';
import { wayBackOf } from '#core/migration/way-back.ts';
import type { Migration } from './ends.ts';

/** The migration of one target, from what the source has now. @throws what connecting throws; table_not_found, rule_invalid. */
export async function openMigration(config: Config, target: TargetConfig): Promise<Migration> {
  const client = await connectPg({
    url: config.source.url,
    purpose: 'source',
    application: `restage ${config.name} operator look`,
  });
  try {
    const tables = await readChosenTables(client, config);
    const { tables: chosen = [] } = findOutput(config.outputs, target.output) ?? {};
    const taken = tables.filter((table) => isChosen(table, chosen)).map(({ schema, table }) => ({ schema, table }));
    const { lost, tables: shaped, ...back } = wayBackOf(config, target, tables);
    return {
      there: { config, target },
      back: { ...back, lost },
      keys: { source: sourceKey(config, target), target: config.name },
      tables: { source: taken, target: shaped },
    };
  } finally {
    await client.end();
  }
}
