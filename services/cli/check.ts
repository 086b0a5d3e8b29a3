import type { Command } from 'commander';
import { readShapedConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';

export function registerCheck(program: Command, cli: CliEnvironment): void {
  program
    .command('check')
    .description(
      'preflight of source, Kafka and targets: findings with evidence and the exact fix; 1 when something blocks',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--list', 'what is asked, without asking it', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: { config: string; json: boolean; list: boolean }) => {
      if (options.list) {
        const { CHECKLIST, formatChecklist } = await import('./check/checklist.ts');
        cli.out(options.json ? `${JSON.stringify(CHECKLIST)}\n` : formatChecklist());
        return;
      }
      const config = await readShapedConfig(options.config, cli.env);
      const { runCheck } = await import('./check/check-command.ts');
      cli.setExitCode(await runCheck(config, { json: options.json }));
    });
}
