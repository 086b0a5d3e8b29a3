import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { backoffMs, pause } from '#core/backoff.ts';
import type { Config } from '#core/config.ts';
import type { ServiceContext } from '#core/control.ts';
import { describeError, RestageError } from '#core/errors.ts';
import { exitCodeOf, needsPerson, reactTo, type ExitCode } from '#core/error-policy.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import { WaitMeter } from '#core/wait-meter.ts';
import { startHttp } from '../dashboard/http-server.ts';
import { ControlChannel } from './control-channel.ts';
import { ensureControlTopic, openControlPool } from './control-topic.ts';
import type { CliEnvironment } from './environment.ts';
import { processFailpoints } from './process-failpoints.ts';
import { collectStatus } from './status-report.ts';

const DRAIN_MS = 10_000;

/** One loop: a producer, one output's transformer, or one target's sink. */
export interface ServiceLoop {
  readonly service: ServiceStatus['service'];
  readonly instance: string;
  /** Runs until drained or failed; called again after an error that may pass. */
  readonly main: (context: ServiceContext) => Promise<void>;
}

/**
 * Runs loops side by side until the first signal, then drains. One that needs a person stands still, its status said on, while others go on;
 * all stop when none is left, or when what one of them needs is not to be had.
 * An exit code other than 0 was logged with its reason. `preflight` refuses, before anything is made, what can come to nothing.
 */
export async function runService(
  config: Config,
  loops: readonly ServiceLoop[],
  preflight: () => Promise<unknown>,
  logger: Logger,
  cli: CliEnvironment,
): Promise<ExitCode> {
  const failpoints = processFailpoints(cli.env);
  await preflight();
  const pool = openControlPool(config, logger);
  const failure = new AbortController();
  const stop = new AbortController();
  const signal = AbortSignal.any([cli.signal, failure.signal, stop.signal]);
  const disarm = forceExitAfterDrain(signal, logger);
  try {
    const statuses = loops.map((loop) => newStatus(loop.service, loop.instance));
    const http = await startHttp({
      status: statuses,
      ...config.http,
      logger,
      clock: Date.now,
      overview: () => collectStatus(config, logger),
    });
    try {
      await ensureControlTopic(config, pool);
      let going = loops.length;
      const onEnd = (code: ExitCode): void => {
        going -= 1;
        if (going === 0 || (code !== 0 && !needsPerson(code))) failure.abort();
      };
      const codes = await Promise.all(
        loops.map((loop, index) => {
          const tools = {
            pool,
            address: http.address,
            logger: logger.child({ service: loop.service, instance: loop.instance }),
            signal,
            failpoints,
            onStop: () => stop.abort(),
            onEnd,
          };
          return runLoop(config.name, loop, statuses[index] ?? newStatus(loop.service, loop.instance), tools);
        }),
      );
      return codes.find((code) => code !== 0) ?? 0;
    } finally {
      await http.close();
    }
  } finally {
    disarm();
    await pool.close();
  }
}

interface LoopTools {
  readonly pool: ConnectionPool;
  readonly address: string;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly failpoints: Failpoints;
  readonly onStop: () => void;
  /** The loop is over, whatever others do. */
  readonly onEnd: (code: ExitCode) => void;
}

async function runLoop(name: string, loop: ServiceLoop, status: ServiceStatus, tools: LoopTools): Promise<ExitCode> {
  const { pool, address, logger, signal, failpoints, onStop, onEnd } = tools;
  const waits = new WaitMeter(Date.now);
  const channel = new ControlChannel({ name, pool, status, address, logger, onStop, waits });
  try {
    await channel.open();
    logger.info({ address }, 'started');
    const { hold, snapshots, letters } = channel;
    const context = { logger, status, signal, failpoints, gate: channel, hold, snapshots, letters, waits };
    const code = await repeatMain(loop, context);
    status.state = code === 0 ? 'stopped' : 'failed';
    onEnd(code);
    if (!signal.aborted) {
      logger.warn(`${loop.service} ${loop.instance} stands still; the others of this process go on`);
      await once(signal);
    }
    return code;
  } finally {
    await channel.close();
  }
}

function once(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Goes round again after what may pass; what was out of reach from the start is said instead (exit 3), it may be a wrong address. */
async function repeatMain(loop: ServiceLoop, context: ServiceContext): Promise<ExitCode> {
  const { logger, status, signal } = context;
  for (let attempt = 0; ; attempt += 1) {
    try {
      await loop.main(context);
      return 0;
    } catch (error) {
      if (signal.aborted && reactTo(error).do === 'retry') return 0;
      const reaction = reactTo(error);
      const exitCode = exitCodeOf(error);
      const mayPass = error instanceof RestageError && error.kind === 'retry';
      const isFirstContact = status.state === 'starting' && exitCode === 3 && !mayPass;
      status.detail = describeError(error);
      if (reaction.do === 'stop' || isFirstContact) {
        logger.error({ err: error, exitCode }, describeError(error));
        return exitCode;
      }
      if (status.state === 'streaming') attempt = 0;
      status.state = 'retrying';
      const waitMs = backoffMs(attempt);
      logger.warn({ err: error, waitMs }, `again in ${waitMs} ms: ${describeError(error)}`);
      await pause(waitMs, signal);
      if (signal.aborted) return 0;
    }
  }
}

/** A drain that hangs must not keep a stop from happening; to be killed is safe at every instant (invariant 7). */
function forceExitAfterDrain(signal: AbortSignal, logger: Logger): () => void {
  let timer: NodeJS.Timeout | undefined;
  const arm = (): void => {
    logger.info('draining');
    timer = setTimeout(() => {
      logger.warn(`not drained after ${DRAIN_MS / 1_000} s: stopping as it is`);
      process.exit(1);
    }, DRAIN_MS);
    timer.unref();
  };
  if (signal.aborted) arm();
  else signal.addEventListener('abort', arm, { once: true });
  return () => {
    signal.removeEventListener('abort', arm);
    clearTimeout(timer);
  };
}
