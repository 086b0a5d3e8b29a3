import type { Command } from 'commander';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import type { ServiceLoop } from './service-command.ts';

/** The way back's services, in one process: three loops with their leases, as services have them. */
export function registerReverse(program: Command, cli: CliEnvironment): void {
  program
    .command('reverse')
    .description(
      'the way back of a migration: from a target to the source, ready before the cutover and applied after it',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .action(async (options: { config: string; target: string }) => {
      const config = await readShapedConfig(options.config, cli.env);
      requireOwnSource(config, 'reverse');
      const target = findTarget(config, options.target);
      const [{ runService }, producer, transformer, sink, { requireReadySource }, { openMigration }] =
        await Promise.all([
          import('./service-command.ts'),
          import('../producer/main.ts'),
          import('../transformer/main.ts'),
          import('../sink/main.ts'),
          import('../producer/preflight.ts'),
          import('./migration/open-migration.ts'),
        ]);
      const logger = makeLogger(cli.env, cli.isTerminal);
      const { back } = await openMigration(config, target);
      const noKeeper = (): Promise<never> => Promise.reject(new Error('a baseline keeps no snapshot'));
      const loops: ServiceLoop[] = [
        { service: 'producer', instance: '', main: (context) => producer.main(back.config, context, noKeeper) },
        ...back.config.outputs.map(({ name }) => ({
          service: 'transformer' as const,
          instance: name,
          main: transformer.main.bind(undefined, back.config, name),
        })),
        {
          service: 'sink',
          instance: back.target.name,
          main: (context) => sink.main(back.config, back.target.name, context),
        },
      ];
      cli.setExitCode(await runService(back.config, loops, () => requireReadySource(back.config, logger), logger, cli));
    });
}
