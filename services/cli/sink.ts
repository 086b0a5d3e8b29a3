import type { Command } from 'commander';
import { findTarget, readShapedConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

export function registerSink(program: Command, cli: CliEnvironment): void {
  program
    .command('sink')
    .description('replays epochs into one target; a second one waits as stand-by')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .action(async (options: { config: string; target: string }) => {
      const config = await readShapedConfig(options.config, cli.env);
      const target = findTarget(config, options.target);
      const [{ runService }, { main }, { requireReadyTarget }, { requireReadyDebezium }] = await Promise.all([
        import('./service-command.ts'),
        import('../sink/main.ts'),
        import('../sink/preflight.ts'),
        import('../sink/debezium/preflight.ts'),
      ]);
      const logger = makeLogger(cli.env, cli.isTerminal);
      const loop = {
        service: 'sink',
        instance: options.target,
        main: main.bind(undefined, config, options.target),
      } as const;
      const theirs = config.source.debezium ?? null;
      const preflight = (): Promise<void> =>
        theirs === null
          ? requireReadyTarget(config, target, logger)
          : requireReadyDebezium(config, theirs, target, logger);
      cli.setExitCode(await runService(config, [loop], preflight, logger, cli));
    });
}
