import type { Command } from 'commander';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

interface RehearseFlags {
  readonly config: string;
  readonly target: string;
  readonly report?: string;
  readonly ci: boolean;
  readonly keep: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
}

export function registerRehearse(program: Command, cli: CliEnvironment): void {
  program
    .command('rehearse')
    .description(
      'replays the history into a clone, verifies it, times the switch and tries the application: 0 passed, 1 failed',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'whose output and settings the clone gets')
    .option('--report <directory>', 'where report.json, report.html and junit.xml are written')
    .option('--ci', 'plain lines, and a report in ./rehearsal without --report', false)
    .option('--keep', 'leaves the clone there; restage reset makes it as the baseline again', false)
    .option('--dry-run', 'says how the clone would be made and what it would cost', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (flags: RehearseFlags) => {
      const config = await readShapedConfig(flags.config, cli.env);
      requireOwnSource(config, 'rehearse');
      const target = findTarget(config, flags.target);
      const { rehearseCommand } = await import('./rehearse/rehearse-command.ts');
      const directory = flags.report ?? (flags.ci ? 'rehearsal' : null);
      const options = { directory, isKept: flags.keep, isDryRun: flags.dryRun, isJson: flags.json };
      cli.setExitCode(await rehearseCommand(config, target, options, cli, makeLogger(cli.env, cli.isTerminal)));
    });
}

export function registerReset(program: Command, cli: CliEnvironment): void {
  program
    .command('reset')
    .description('a rehearsal clone as its baseline again, or removed')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'whose clone')
    .option('--drop', 'only removes it', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (flags: { config: string; target: string; drop: boolean; json: boolean }) => {
      const config = await readShapedConfig(flags.config, cli.env);
      const target = findTarget(config, flags.target);
      const { resetCommand } = await import('./rehearse/rehearse-command.ts');
      await resetCommand(config, target, { isDropped: flags.drop, isJson: flags.json }, cli);
    });
}
