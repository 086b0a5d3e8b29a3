import type { Command } from 'commander';
import { readConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { processFailpoints } from './process-failpoints.ts';

/** Started by the producer alone, so not among the commands that help lists; in ps it tells what it is. */
export function registerKeeper(program: Command, cli: CliEnvironment): void {
  program
    .command('keeper', { hidden: true })
    .description("keeps an unfinished load's snapshot while its producer is started again")
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--snapshot <name>', 'as the producer exports it')
    .action(async (options: { config: string; snapshot: string }) => {
      const config = await readConfig(options.config, cli.env);
      requireOwnSource(config, 'a keeper');
      const { main } = await import('../producer/keeper-main.ts');
      const failpoints = processFailpoints(cli.env);
      // Whoever asked may be gone by then: nobody else can know of this snapshot, and it ends.
      const gone = new AbortController();
      process.stdout.on('error', () => gone.abort());
      await main(config, {
        snapshot: options.snapshot,
        onKept: (kept) => cli.out(`${JSON.stringify(kept)}\n`),
        failpoints,
        signal: AbortSignal.any([cli.signal, gone.signal]),
      });
    });
}
