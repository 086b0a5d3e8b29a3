import type { Command } from 'commander';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

export function registerComplete(program: Command, cli: CliEnvironment): void {
  program
    .command('complete')
    .description(
      'ends a migration whose target is live: no rollback from then on; removes the way back and the guards of the target',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option('--yes', 'does not ask', false)
    .action(async (options: { config: string; target: string; yes: boolean }) => {
      const config = await readShapedConfig(options.config, cli.env);
      requireOwnSource(config, 'complete');
      const target = findTarget(config, options.target);
      const { completeMigration } = await import('./migration/complete-command.ts');
      await completeMigration(config, target, options.yes, makeLogger(cli.env, cli.isTerminal), cli);
    });
}
