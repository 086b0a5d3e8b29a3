import type { Command } from 'commander';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';

interface GlobalsFlags {
  readonly config: string;
  readonly target: string;
  readonly withPasswords: boolean;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

export function registerGlobals(program: Command, cli: CliEnvironment): void {
  program
    .command('globals')
    .description('brings roles, memberships, grants, and settings of roles and of the database to a target: asks first')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option('--with-passwords', 'as hashes, which only a superuser of the source may read; they are never shown', false)
    .option('--dry-run', 'says what would be done, and changes nothing', false)
    .option('--yes', 'does not ask', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (flags: GlobalsFlags) => {
      const config = await readShapedConfig(flags.config, cli.env);
      requireOwnSource(config, 'globals');
      const target = findTarget(config, flags.target);
      const { globalsCommand } = await import('./globals/globals-command.ts');
      const { withPasswords, dryRun: isDryRun, yes: isConfirmed, json } = flags;
      cli.setExitCode(await globalsCommand(config, target, { withPasswords, isDryRun, isConfirmed, json }, cli));
    });
}
