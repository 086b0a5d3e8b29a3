import type { Command } from 'commander';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

export function registerVerify(program: Command, cli: CliEnvironment): void {
  program
    .command('verify')
    .description('compares source and target, through the rules: 0 equal, 1 different, with the rows named')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: { config: string; target: string; json: boolean }) => {
      const config = await readShapedConfig(options.config, cli.env);
      requireOwnSource(config, 'verify');
      findTarget(config, options.target);
      const { runVerify } = await import('./verify/verify-command.ts');
      const context = { logger: makeLogger(cli.env, cli.isTerminal), signal: cli.signal };
      cli.setExitCode(await runVerify(config, { target: options.target, json: options.json }, context));
    });
}
