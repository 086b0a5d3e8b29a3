import type { Command } from 'commander';
import type { Config, TargetConfig } from '#core/config.ts';
import type { SchemaDiff } from '#core/schema-diff.ts';
import { isChosen } from '#core/table-patterns.ts';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';

export function registerSchemaDiff(schema: Command, cli: CliEnvironment): void {
  schema
    .command('diff')
    .description('structure of source and target, through the rules: 0 alike, 1 different')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: { config: string; target: string; json: boolean }) => {
      const config = await readShapedConfig(options.config, cli.env);
      requireOwnSource(config, 'schema diff');
      const diff = await readSchemaDiff(config, findTarget(config, options.target));
      cli.out(options.json ? `${JSON.stringify(diff)}\n` : formatSchemaDiff(diff));
      cli.setExitCode(diff.differences.length === 0 ? 0 : 1);
    });
}

/** Both catalogs, as they are now. */
export async function readSchemaDiff(config: Config, target: TargetConfig): Promise<SchemaDiff> {
  const [{ connectPg }, { readChosenTables, readTables }, { readSchemaObjects }, { diffSchemas }, refs, shapes] =
    await Promise.all([
      import('#adapters/postgres/session.ts'),
      import('#adapters/postgres/catalog.ts'),
      import('#adapters/postgres/schema-objects.ts'),
      import('#core/schema-diff.ts'),
      import('#core/output-ref.ts'),
      import('#core/rules/shape-tables.ts'),
    ]);
  const output = refs.findOutput(config.outputs, target.output);
  const application = `restage ${config.name} schema`;
  const source = await connectPg({ url: config.source.url, purpose: 'source', application });
  try {
    const there = await connectPg({ url: target.url, purpose: 'target', application });
    try {
      const tables = await readChosenTables(source, config);
      return diffSchemas({
        source: await readSchemaObjects(source),
        target: await readSchemaObjects(there),
        // What another output takes is another target's.
        tables: tables.filter((table) => isChosen(table, output?.tables ?? [])),
        shaped: shapes.shapeTables(tables, output),
        found: await readTables(there, '', { partitions: 'all' }),
        rules: output?.rules ?? [],
      });
    } finally {
      await there.end();
    }
  } finally {
    await source.end();
  }
}

export function formatSchemaDiff({ differences, columnsOnly }: SchemaDiff): string {
  const lines = differences.map(({ kind, name, is, source, target }) => {
    const how = is === 'different' && source !== null ? `\n    source: ${source}\n    target: ${target ?? ''}` : '';
    return `${is.padEnd(9)} ${kind} ${name}${is === 'missing' && source !== null && source !== '' ? ` ${source}` : ''}${how}`;
  });
  const count = differences.length;
  return [
    ...lines,
    ...columnsOnly.map((name) => `rules compute ${name}: only its columns were compared`),
    count === 0 ? 'the structures are alike' : `${count} ${count === 1 ? 'difference' : 'differences'}`,
    '',
  ].join('\n');
}
