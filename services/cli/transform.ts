import type { Command } from 'commander';
import { RestageError } from '#core/errors.ts';
import { readConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';

interface TestOptions {
  readonly config: string;
  readonly fixtures: string;
  readonly junit?: string;
  readonly update: boolean;
}

/** `restage transform`: rules, looked at before they are deployed. */
export function registerTransform(program: Command, cli: CliEnvironment): void {
  program
    .command('transform')
    .description('rules, looked at before they are deployed')
    .command('test')
    .description('runs fixtures through the rules, without Kafka or a database; 1 when one is not as expected')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--fixtures <dir>', 'folder of YAML files: events, and what is to become of them')
    .option('--junit <file>', 'also writes the results as JUnit XML')
    .option('--update', 'writes what came into the files as what is expected', false)
    .action(async (options: TestOptions) => {
      if (options.update && options.junit !== undefined)
        throw new RestageError('usage', '--update writes what came: there is no result for --junit');
      const config = await readConfig(options.config, cli.env);
      const { runFixtures } = await import('./transform/run-fixtures.ts');
      cli.setExitCode(await runFixtures(config, options, cli));
    });
}
