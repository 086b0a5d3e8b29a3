import type { Command } from 'commander';
import { readConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import type { ServiceLoop } from './service-command.ts';
import type { StartKeeper } from '../producer/load-snapshots.ts';

export function registerProducer(program: Command, cli: CliEnvironment): void {
  program
    .command('producer')
    .description('captures the source into Kafka; a second one waits as stand-by')
    .requiredOption('-c, --config <file>', 'configuration file')
    .action(async (options: { config: string }) => {
      const config = await readConfig(options.config, cli.env);
      requireOwnSource(config, 'a producer');
      const [{ runService }, { main }, { requireReadySource }, { startKeeper }] = await Promise.all([
        import('./service-command.ts'),
        import('../producer/main.ts'),
        import('../producer/preflight.ts'),
        import('./keeper-process.ts'),
      ]);
      const logger = makeLogger(cli.env, cli.isTerminal);
      const keep: StartKeeper = (snapshot) => startKeeper(cli, options.config, snapshot);
      const run: ServiceLoop['main'] = (context) => main(config, context, keep);
      const loop = { service: 'producer', instance: '', main: run } as const;
      cli.setExitCode(await runService(config, [loop], () => requireReadySource(config, logger), logger, cli));
    });
}
