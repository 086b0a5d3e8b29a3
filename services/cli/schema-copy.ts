import { Option, type Command } from 'commander';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import { registerSchemaDiff } from './schema-diff.ts';
import { registerSchemaFinish } from './schema-finish.ts';

export function registerSchema(program: Command, cli: CliEnvironment): void {
  const schema = program.command('schema').description('structure of the target');
  registerSchemaFinish(schema, cli);
  registerSchemaDiff(schema, cli);
  schema
    .command('copy')
    .description('copies the structure of the chosen tables from source to target by the real pg_dump')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .addOption(
      new Option('--section <section>', 'tables, or what comes after their rows')
        .choices(['pre-data', 'post-data'])
        .makeOptionMandatory(),
    )
    .action(async (options: { config: string; target: string; section: 'pre-data' | 'post-data' }) => {
      const config = await readShapedConfig(options.config, cli.env);
      requireOwnSource(config, 'schema copy');
      const target = findTarget(config, options.target);
      const { runSchemaCopy } = await import('./schema-command.ts');
      const { noteAction } = await import('./migration/audit.ts');
      const { section } = options;
      cli.setExitCode(await runSchemaCopy(config, { target: options.target, section }));
      const logger = makeLogger(cli.env, cli.isTerminal);
      await noteAction(config, [target], { action: 'schema copy', with: { section } }, logger);
    });
}
