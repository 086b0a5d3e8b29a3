import type { Command } from 'commander';
import type { CliEnvironment } from './environment.ts';

export function registerDemo(program: Command, cli: CliEnvironment): void {
  program.command('demo')
    .description('embedded Kafka and two PostgreSQL servers, a live migration between them, and its verdict')
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: { json: boolean }) => {
      const { runDemo } = await import('./demo/demo-command.ts');
      cli.setExitCode(await runDemo({ json: options.json, signal: cli.signal }));
    });
}
