import { InvalidArgumentError, type Command } from 'commander';
import { backoffMs, pause } from '#core/backoff.ts';
import { reactTo } from '#core/error-policy.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import { startDeadline } from '#core/deadline.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { findTarget, readConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import { markCurrentLsn } from './source-figures.ts';
import { connectTarget, readCheckpoint, type Checkpoint } from './target-checkpoint.ts';

const POLL_MS = 50;
const REQUESTS_POLL_MS = 250;
const DEFAULT_TIMEOUT_S = 600;

interface WaitOptions {
  readonly config: string;
  readonly target: string;
  readonly lsn: Lsn | 'current';
  readonly timeout: number;
  readonly json: boolean;
}

export function registerWait(program: Command, cli: CliEnvironment): void {
  program
    .command('wait')
    .description('returns when the load is done and the target has passed an LSN of the source; 1 on time-out')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option(
      '--lsn <lsn>',
      'an LSN of the source, or "current": past all that is committed now',
      readLsn,
      'current' as const,
    )
    .option('--timeout <seconds>', 'how long to wait', readSeconds, DEFAULT_TIMEOUT_S)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: WaitOptions) => {
      const config = await readConfig(options.config, cli.env);
      const target = findTarget(config, options.target);
      const theirs = config.source.debezium ?? null;
      if (theirs !== null) return waitForDebezium(config, theirs, target, options, cli);
      const deadline = startDeadline(options.timeout * 1_000, cli.signal);
      const startedAt = Date.now();
      if (options.lsn === 'current') await untilAnnounced(config, makeLogger(cli.env, cli.isTerminal), deadline.signal);
      const lsn = options.lsn === 'current' ? await markCurrentLsn(config) : options.lsn;
      const { isReached, checkpoint } = await waitForLsn(config, target, lsn, deadline.signal).finally(() =>
        deadline.cancel(),
      );
      const seconds = (Date.now() - startedAt) / 1_000;
      const where =
        checkpoint === null
          ? 'has no position yet'
          : `is at ${checkpoint.through}, load ${checkpoint.isLoadDone ? 'done' : 'not done'}`;
      if (options.json) {
        cli.out(
          `${JSON.stringify({
            target: target.name,
            lsn: formatLsn(lsn),
            reached: isReached,
            through: checkpoint?.through ?? null,
            loadDone: checkpoint?.isLoadDone ?? false,
            seconds,
          })}\n`,
        );
      } else if (isReached) cli.out(`${target.name} ${where}, past ${formatLsn(lsn)}, after ${seconds.toFixed(1)} s\n`);
      else cli.err(`not reached after ${seconds.toFixed(1)} s: ${target.name} ${where}, wanted ${formatLsn(lsn)}\n`);
      cli.setExitCode(isReached ? 0 : 1);
    });
}

/** What `restage snapshot` asked for is part of "all that is asked now"; once it is announced, the targets' positions know of it. */
async function untilAnnounced(config: Config, logger: Logger, timeout: AbortSignal): Promise<void> {
  const { readRecords } = await import('./status-report.ts');
  while (!timeout.aborted) {
    // Kafka's absence is the services' to report: a position can be waited for without it.
    const records = await readRecords(config, logger).catch(() => null);
    if (records === null || records.requests.length === 0) return;
    await pause(REQUESTS_POLL_MS, timeout);
  }
}

/** Where Debezium reads the source: until the target has what its topics held when the wait began. */
async function waitForDebezium(
  config: Config,
  theirs: NonNullable<Config['source']['debezium']>,
  target: TargetConfig,
  options: WaitOptions,
  cli: CliEnvironment,
): Promise<void> {
  if (options.lsn !== 'current') requireOwnSource(config, 'wait --lsn');
  const { waitForTopics } = await import('./debezium-wait.ts');
  const deadline = startDeadline(options.timeout * 1_000, cli.signal);
  const startedAt = Date.now();
  const logger = makeLogger(cli.env, cli.isTerminal);
  const result = await waitForTopics(config, theirs, target, logger, deadline.signal).finally(() => deadline.cancel());
  const { isReached, behind, isLoadDone } = result;
  const seconds = (Date.now() - startedAt) / 1_000;
  if (options.json)
    cli.out(`${JSON.stringify({ target: target.name, reached: isReached, behind, loadDone: isLoadDone, seconds })}\n`);
  else if (isReached) cli.out(`${target.name} has what the topics held, after ${seconds.toFixed(1)} s\n`);
  else {
    const why =
      behind.length === 0 ? 'a snapshot is not ended, or rows wait for values' : `behind on ${behind.join(', ')}`;
    cli.err(`not reached after ${seconds.toFixed(1)} s: ${target.name}: ${why}\n`);
  }
  cli.setExitCode(isReached ? 0 : 1);
}

interface WaitResult {
  readonly isReached: boolean;
  readonly checkpoint: Checkpoint | null;
}

/** A target that is away for a while is waited for as well; the time-out bounds both. */
export async function waitForLsn(
  config: Config,
  target: TargetConfig,
  lsn: Lsn,
  timeout: AbortSignal,
): Promise<WaitResult> {
  let checkpoint: Checkpoint | null = null;
  for (let attempt = 0; !timeout.aborted; attempt += 1) {
    try {
      const client = await connectTarget(config, target, timeout);
      try {
        while (!timeout.aborted) {
          checkpoint = await readCheckpoint(client, config.name);
          if (checkpoint !== null && checkpoint.isLoadDone && parseLsn(checkpoint.through) >= lsn)
            return { isReached: true, checkpoint };
          await pause(POLL_MS, timeout);
        }
      } finally {
        await client.end().catch(() => undefined);
      }
    } catch (error) {
      if (reactTo(error).do === 'stop') throw error;
      await pause(backoffMs(attempt), timeout);
    }
  }
  return { isReached: false, checkpoint };
}

function readLsn(text: string): Lsn | 'current' {
  if (text === 'current') return text;
  try {
    return parseLsn(text);
  } catch {
    throw new InvalidArgumentError('write it as X/Y, both hexadecimal, or "current".');
  }
}

/** The longest a timer can run is 2^31 - 1 ms. */
function readSeconds(text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds < 2_147_483)) throw new InvalidArgumentError('a number of seconds above 0 is needed.');
  return seconds;
}
