import type { Command } from 'commander';
import { confirm } from './ask.ts';
import { readShapedConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';

interface CheckFlags {
  readonly config: string;
  readonly list: boolean;
  readonly fix: boolean;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

export function registerCheck(program: Command, cli: CliEnvironment): void {
  program
    .command('check')
    .description(
      'preflight of source, Kafka and targets: findings with evidence and the exact fix; 1 when something blocks',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--list', 'what is asked, without asking it', false)
    .option(
      '--fix',
      'runs what mends a finding and is safe: it takes nothing away and may be run again; asks first',
      false,
    )
    .option('--dry-run', 'with --fix: shows the statements, and runs none', false)
    .option('--yes', 'with --fix: does not ask', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: CheckFlags) => {
      if (options.list) {
        const { CHECKLIST, formatChecklist } = await import('./check/checklist.ts');
        cli.out(options.json ? `${JSON.stringify(CHECKLIST)}\n` : formatChecklist());
        return;
      }
      const config = await readShapedConfig(options.config, cli.env);
      const { runCheck } = await import('./check/check-command.ts');
      const fix = {
        isDryRun: options.dryRun,
        confirm: async (): Promise<boolean> =>
          options.yes || (await confirm('run these? (y/n) ', { command: 'restage check --fix' }, cli)),
        err: cli.err,
      };
      cli.setExitCode(await runCheck(config, { json: options.json, ...(options.fix ? { fix } : {}) }));
    });
}
