import type { Command } from 'commander';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

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
      const [{ runService }, { baselineLoops }, { requireReadySource }, { openMigration }] = await Promise.all([
        import('./service-command.ts'),
        import('./pipeline-loops.ts'),
        import('../producer/preflight.ts'),
        import('./migration/open-migration.ts'),
      ]);
      const logger = makeLogger(cli.env, cli.isTerminal);
      const { back } = await openMigration(config, target);
      // What follows calls the two sides as this pipeline has them.
      logger.info(
        { pipeline: back.config.name },
        `the way back reads from target ${target.name} and applies to the source`,
      );
      const loops = await baselineLoops(back.config);
      cli.setExitCode(await runService(back.config, loops, () => requireReadySource(back.config, logger), logger, cli));
    });
}
