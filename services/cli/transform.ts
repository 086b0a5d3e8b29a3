import { InvalidArgumentError, type Command } from 'commander';
import { RestageError } from '#core/errors.ts';
import { parseHistoryPoint } from '#core/history-point.ts';
import { readConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import type { DryRunOptions } from './transform/dry-run.ts';
import type { ReportOptions } from './transform/validation-report.ts';
import type { StartPoint } from './transform/history-events.ts';

interface TestOptions extends DryRunOptions {
  readonly config: string;
  readonly fixtures?: string;
  readonly junit?: string;
  readonly update: boolean;
}

/** `restage transform`: rules and checks, looked at before they are deployed, and what they found. */
export function registerTransform(program: Command, cli: CliEnvironment): void {
  const transform = program
    .command('transform')
    .description('rules and checks: looked at before they are deployed, and what they found');
  transform
    .command('report')
    .description(
      'what the checks of every output (validate) found since its transformer started; 1 when some row did not pass',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--json', 'one JSON document on standard output', false)
    .option('--html <file>', 'also writes a page that needs nothing else')
    .action(async (options: ReportOptions & { config: string }) => {
      const config = await readConfig(options.config, cli.env);
      const { runReport } = await import('./transform/validation-report.ts');
      cli.setExitCode(await runReport(config, options, cli, makeLogger(cli.env, cli.isTerminal)));
    });
  transform
    .command('test')
    .description(
      'the rules of the file over what is in the raw topics, or over fixtures; writes nothing to Kafka; 1 when something failed',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--output <name>', 'which output, NAME or NAME@VERSION; the only one by default')
    .option('--table <name>', 'only events of this table, schema.table')
    .option('--from <where>', 'beginning, an LSN, a time with its zone, or an offset of the .epochs topic', readStart, {
      kind: 'beginning',
    })
    .option('--limit <n>', 'so many events at most', readLimit, 100)
    .option('--quiet', 'only the sums', false)
    .option('--json', 'one JSON document on standard output', false)
    .option('--fixtures <dir>', 'runs these instead, without Kafka: YAML files of events and what is to become of them')
    .option('--junit <file>', 'of fixtures: also writes the results as JUnit XML')
    .option('--update', 'of fixtures: writes what came as what is expected', false)
    .action(async (options: TestOptions) => {
      const { fixtures, junit, update } = options;
      if (fixtures === undefined && (junit !== undefined || update))
        throw new RestageError('usage', '--junit and --update are of fixtures', { fix: 'give --fixtures DIR' });
      if (update && junit !== undefined)
        throw new RestageError('usage', '--update writes what came: there is no result for --junit');
      const config = await readConfig(options.config, cli.env);
      if (fixtures === undefined) {
        const { runDryRun } = await import('./transform/dry-run.ts');
        cli.setExitCode(await runDryRun(config, options, cli, makeLogger(cli.env, cli.isTerminal)));
        return;
      }
      const { runFixtures } = await import('./transform/run-fixtures.ts');
      cli.setExitCode(await runFixtures(config, { ...options, fixtures }, cli));
    });
}

function readStart(text: string): StartPoint {
  if (/^\d{1,19}$/.test(text)) return { kind: 'offset', offset: BigInt(text) };
  const point = parseHistoryPoint(text);
  if (point === null) throw new InvalidArgumentError('beginning, an LSN, a time with its zone, or an offset.');
  return point;
}

function readLimit(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('a number above 0.');
  return Number(text);
}
