import type { Command } from 'commander';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

interface RepairFlags {
  readonly config: string;
  readonly target: string;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

export function registerRepair(program: Command, cli: CliEnvironment): void {
  program
    .command('repair')
    .description('makes rows of a target that verify finds different what the source and the rules say: asks first')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option('--dry-run', 'says which rows, and changes nothing', false)
    .option('--yes', 'does not ask', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (flags: RepairFlags) => {
      const config = await readShapedConfig(flags.config, cli.env);
      requireOwnSource(config, 'repair');
      const target = findTarget(config, flags.target);
      const { repairCommand } = await import('./repair/repair-command.ts');
      const options = { isDryRun: flags.dryRun, isConfirmed: flags.yes, json: flags.json };
      cli.setExitCode(await repairCommand(config, target, options, makeLogger(cli.env, cli.isTerminal), cli));
    });
}
