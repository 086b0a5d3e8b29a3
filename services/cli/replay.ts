import { InvalidArgumentError, type Command } from 'commander';
import { parseHistoryPoint, type HistoryPoint } from '#core/history-point.ts';
import { findTarget, readConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import type { ReplayRequest } from './replay/replay-plan.ts';

interface ReplayFlags {
  readonly config: string;
  readonly target: string;
  readonly from: GivenPoint;
  readonly until?: ReplayRequest['until'];
  readonly rate?: number;
  readonly force: boolean;
  readonly yes: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
}

interface GivenPoint {
  readonly text: string;
  readonly point: HistoryPoint;
}

export function registerReplay(program: Command, cli: CliEnvironment): void {
  program
    .command('replay')
    .description('history into a target, up to what Kafka has now or to a bound; its sink stands aside meanwhile')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .requiredOption(
      '--from <point>',
      'beginning, an LSN, or a time with its zone; what the target has already is left out',
      readPoint,
    )
    .option('--until <point>', 'an LSN or a time: the last whole transaction that is not after it', readUntil)
    .option('--rate <events>', 'events a second at most', readRate)
    .option('--force', 'empties the target first, after asking, and fills it anew', false)
    .option('--yes', 'does not ask', false)
    .option('--dry-run', 'says what it would do and empty, and does nothing', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (flags: ReplayFlags) => {
      const config = await readConfig(flags.config, cli.env);
      requireOwnSource(config, 'replay');
      const target = findTarget(config, flags.target);
      const { replayCommand } = await import('./replay/replay-command.ts');
      const options = {
        from: flags.from.point,
        fromText: flags.from.text,
        until: flags.until ?? null,
        isForced: flags.force,
        rate: flags.rate ?? null,
        isDryRun: flags.dryRun,
        isAgreed: flags.yes,
        isJson: flags.json,
      };
      const env = { ...cli.env, RESTAGE_LOG: cli.env['RESTAGE_LOG'] ?? 'warn' };
      cli.setExitCode(await replayCommand(config, target, options, cli, makeLogger(env, cli.isTerminal)));
    });
}

function readPoint(text: string): GivenPoint {
  const point = parseHistoryPoint(text);
  if (point === null)
    throw new InvalidArgumentError('write beginning, an LSN as X/Y, or a time with its zone: 2026-11-28T10:00:00Z.');
  return { text, point };
}

function readUntil(text: string): ReplayRequest['until'] {
  const { point } = readPoint(text);
  if (point.kind === 'beginning') throw new InvalidArgumentError('write an LSN or a time.');
  return point;
}

function readRate(text: string): number {
  const rate = Number(text);
  if (!(rate >= 1 && rate <= 1_000_000_000)) throw new InvalidArgumentError('a number of events from 1 up is needed.');
  return rate;
}
