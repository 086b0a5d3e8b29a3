import type { Command } from 'commander';
import { readConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import type { TeardownOptions } from './teardown/teardown-command.ts';

export function registerTeardown(program: Command, cli: CliEnvironment): void {
  program
    .command('teardown')
    .description(
      "the end of a pipeline: slot, publication, topics, groups and what targets keep of it; target tables' rows stay",
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--dry-run', 'only says what it would remove', false)
    .option('--yes', 'does not ask', false)
    .option('--force', 'ends services that are at work, and forgets statements that were put off', false)
    .option('--registry', "removes the schema registry's subjects too", false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async ({ config: file, ...options }: TeardownOptions & { config: string }) => {
      const config = await readConfig(file, cli.env);
      requireOwnSource(config, 'teardown');
      const { tearDown } = await import('./teardown/teardown-command.ts');
      await tearDown(config, options, makeLogger(cli.env, cli.isTerminal), cli);
    });
}
