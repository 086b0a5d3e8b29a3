import { InvalidArgumentError, type Command } from 'commander';
import type { ServiceContext } from '#core/control.ts';
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
    .option(
      '--lanes <n>',
      'of an output with ordering: key, as many at once; more only where nobody else has them',
      readLanes,
    )
    .option('--accept-rules', 'after rules_changed: the new rules hold from here on, for rows that come', false)
    .action(async (options: { config: string; output?: string; acceptRules: boolean; lanes?: number }) => {
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
            main: (context: ServiceContext) =>
              main(config, versionedRef(output), context, { acceptsRules: options.acceptRules, lanes: options.lanes }),
          }) as const,
      );
      cli.setExitCode(await runService(config, loops, () => requireReadyOutputs(config, outputs, logger), logger, cli));
    });
}

function readLanes(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('a number from 1 on is needed.');
  return Number(text);
}
