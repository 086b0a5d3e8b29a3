import { InvalidArgumentError, type Command } from 'commander';
import type { Config } from '#core/config.ts';
import type { Logger } from '#core/log.ts';
import { readConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

interface CommonOptions {
  readonly config: string;
  readonly target?: string;
  readonly json: boolean;
}

interface RetryOptions {
  readonly dryRun: boolean;
  readonly set: Readonly<Record<string, string | null>>;
  readonly reason: string;
}

interface DropOptions {
  readonly behind: 'free' | 'drop';
  readonly yes: boolean;
  readonly dryRun: boolean;
  readonly reason: string;
}

/** `restage dlq`: what did not reach its target, why, and what is done about it. */
export function registerDlq(program: Command, cli: CliEnvironment): void {
  const dlq = program
    .command('dlq')
    .description('dead letters: events that a target refused or the rules did not take, and what waits behind them');
  const add = (name: string, what: string): Command =>
    dlq
      .command(name)
      .description(what)
      .requiredOption('-c, --config <file>', 'configuration file')
      .option('--target <name>', 'only this target')
      .option('--json', 'one JSON document on standard output', false);
  add('list', 'a line each, and how many of which table')
    .option('--all', 'also those that were retried or dropped', false)
    .action(async (options: CommonOptions & { all: boolean }) => {
      const { withDlq, runList } = await import('./dlq/dlq-command.ts');
      cli.setExitCode(await withDlq(await given(cli, options), (tools) => runList(tools, options)));
    });
  add('show', 'everything about some of them; values only with --values')
    .argument('<ids...>', 'their ids, or beginnings that only one has')
    .option('--values', 'with the rows as the source wrote them', false)
    .action(async (texts: string[], options: CommonOptions & { values: boolean }) => {
      const { withDlq, runShow } = await import('./dlq/dlq-command.ts');
      cli.setExitCode(await withDlq(await given(cli, options), (tools) => runShow(tools, texts, options)));
    });
  add('retry', 'applies them, oldest first, with what waits behind them; all without ids. 1 when some still wait')
    .argument('[ids...]', 'their ids, or beginnings that only one has')
    .option(
      '--set <column=value>',
      'another value in a letter of an output; column alone: NULL. May be repeated',
      readSet,
      {},
    )
    .option('--reason <text>', 'for the audit', '')
    .option('--dry-run', 'tries, and takes everything back', false)
    .action(async (texts: string[], options: CommonOptions & RetryOptions) => {
      const { withDlq, runRetry } = await import('./dlq/dlq-command.ts');
      cli.setExitCode(await withDlq(await given(cli, options), (tools) => runRetry(tools, texts, options)));
    });
  add('drop', 'gives them up: the target stays different there')
    .argument('<ids...>', 'their ids, or beginnings that only one has')
    .option('--behind <what>', 'what waits behind them: free (it may be retried) or drop', readBehind, 'free')
    .option('--reason <text>', 'why, for the audit of what an output drops', '')
    .option('--yes', 'does not ask', false)
    .option('--dry-run', 'says what it would do and does nothing', false)
    .action(async (texts: string[], options: CommonOptions & DropOptions) => {
      const { withDlq, runDrop } = await import('./dlq/dlq-command.ts');
      cli.setExitCode(await withDlq(await given(cli, options), (tools) => runDrop(tools, texts, options)));
    });
}

/** What every one of them needs. */
async function given(
  cli: CliEnvironment,
  { config, target }: CommonOptions,
): Promise<{ config: Config; target: string | undefined; cli: CliEnvironment; logger: Logger }> {
  const logger = makeLogger(cli.env, cli.isTerminal);
  return { config: await readConfig(config, cli.env), target, cli, logger };
}

/** `column=value`; without `=` it is NULL. */
function readSet(
  text: string,
  before: Readonly<Record<string, string | null>>,
): Readonly<Record<string, string | null>> {
  const at = text.indexOf('=');
  if (at === 0 || text === '') throw new InvalidArgumentError('write it as column=value.');
  return { ...before, [at < 0 ? text : text.slice(0, at)]: at < 0 ? null : text.slice(at + 1) };
}

function readBehind(text: string): 'free' | 'drop' {
  if (text !== 'free' && text !== 'drop') throw new InvalidArgumentError('free or drop.');
  return text;
}
