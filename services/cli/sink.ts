import type { Command } from 'commander';
import { findTarget, readShapedConfig } from './config-file.ts';
import { InvalidArgumentError } from 'commander';
import type { ServiceContext } from '#core/control.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

export function registerSink(program: Command, cli: CliEnvironment): void {
  program
    .command('sink')
    .description('replays epochs into one target; a second one waits as stand-by, or shares the lanes (ordering: key)')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option(
      '--lanes <number>',
      'ordering: key: so many of the lanes, others only while nobody else serves them',
      readLanes,
    )
    .action(async (options: { config: string; target: string; lanes?: number }) => {
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
        main: (context: ServiceContext): Promise<void> => main(config, options.target, context, null, options.lanes),
      } as const;
      const theirs = config.source.debezium ?? null;
      const preflight = (): Promise<void> =>
        theirs === null
          ? requireReadyTarget(config, target, logger)
          : requireReadyDebezium(config, theirs, target, logger);
      cli.setExitCode(await runService(config, [loop], preflight, logger, cli));
    });
}

function readLanes(text: string): number {
  const lanes = Number(text);
  if (!Number.isInteger(lanes) || lanes < 1) throw new InvalidArgumentError('say how many, 1 or more.');
  return lanes;
}
