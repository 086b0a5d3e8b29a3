import type { Command } from 'commander';
import { RestageError } from '#core/errors.ts';
import { matchOutputs, outputRef, versionedRef } from '#core/output-ref.ts';
import { checkOutput, readShapedConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

export function registerTransformer(program: Command, cli: CliEnvironment): void {
  program
    .command('transformer')
    .description('applies the rules of every output, or of one, from raw topics to shaped ones')
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--output <name>', 'only this output; one of its versions as name@2')
    .action(async (options: { config: string; output?: string }) => {
      const config = await readShapedConfig(options.config, cli.env);
      if (options.output !== undefined) checkOutput(config, options.output);
      const outputs = options.output === undefined ? config.outputs : matchOutputs(config.outputs, options.output);
      if (outputs.length === 0) {
        throw new RestageError('usage', 'a pipeline without outputs has no transformer', {
          where: config.file,
          fix: 'sinks read the raw topics then; for rules, add transform.outputs',
        });
      }
      const [{ runService }, { main }, { requireReadyOutputs }] = await Promise.all([
        import('./service-command.ts'),
        import('../transformer/main.ts'),
        import('./preflight.ts'),
      ]);
      const logger = makeLogger(cli.env, cli.isTerminal);
      const loops = outputs.map(
        (output) =>
          ({
            service: 'transformer',
            instance: outputRef(config.outputs, output),
            main: main.bind(undefined, config, versionedRef(output)),
          }) as const,
      );
      cli.setExitCode(await runService(config, loops, () => requireReadyOutputs(config, outputs, logger), logger, cli));
    });
}
