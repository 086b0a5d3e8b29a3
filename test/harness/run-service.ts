import { pino } from 'pino';
import type { Config } from '#core/config.ts';
import type { HoldGate, PauseGate, SnapshotGate, ServiceContext } from '#core/control.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import { WaitMeter } from '#core/wait-meter.ts';
import { LetterCommands } from '../../services/cli/letter-commands.ts';
import { main as producer } from '../../services/producer/main.ts';
import { main as sink } from '../../services/sink/main.ts';
import { main as transformer } from '../../services/transformer/main.ts';
import { until } from './until.ts';

/** A service in this process. `await using` drains it. */
export interface RunningService extends AsyncDisposable {
  readonly status: ServiceStatus;
  /** What it stopped by: an error, or null after a drain. */
  readonly end: Promise<unknown>;
  /** Waits until it streams. Fails with the error that it stopped by. */
  streaming(): Promise<void>;
  /** What that gives, unless the service stops before: then it fails with the error that it stopped by. */
  orStops<T>(work: Promise<T>): Promise<T>;
  drain(): Promise<void>;
}

const RUNNING: PauseGate = { isPaused: false, whenRunning: () => Promise.resolve() };
const UNASKED: HoldGate = { request: null, changed: new AbortController().signal, acknowledge: () => undefined };

const NO_REQUESTS: SnapshotGate = { requests: [], clear: () => Promise.resolve() };

/** The producer, an output's transformer, or a target's sink: its main as it is, which goes round again after what may pass. */
export function startService(
  service: ServiceStatus['service'],
  config: Config,
  instance = '',
  logger = pino({ level: 'silent' }),
): RunningService {
  const stop = new AbortController();
  const status = newStatus(service, instance);
  const context: ServiceContext = {
    logger,
    status,
    signal: stop.signal,
    gate: RUNNING,
    hold: UNASKED,
    snapshots: NO_REQUESTS,
    letters: new LetterCommands(() => Promise.resolve()),
    waits: new WaitMeter(Date.now),
    failpoints: NO_FAILPOINTS,
  };
  const main = {
    // A load of this process ends with it: a keeper would be a process of its own.
    producer: () =>
      producer({ ...config, source: { ...config.source, keepSnapshotMinutes: 0 } }, context, () =>
        Promise.reject(new Error('no keeper was asked for')),
      ),
    transformer: () => transformer(config, instance, context),
    sink: () => sink(config, instance, context),
  }[service];
  let hasEnded = false;
  const end = main().then(
    () => null,
    (error: unknown) => error,
  );
  void end.then(() => (hasEnded = true));
  const drain = async (): Promise<void> => {
    stop.abort();
    await end;
  };
  return {
    status,
    end,
    async streaming() {
      await until(() => status.state === 'streaming' || hasEnded, { what: `${service} streaming; ${status.detail}` });
      if (status.state !== 'streaming') throw await end;
    },
    orStops: (work) =>
      Promise.race([
        work,
        end.then((error) => {
          throw error ?? new Error(`the ${service} was drained`);
        }),
      ]),
    drain,
    [Symbol.asyncDispose]: drain,
  };
}
