import { appendRecord } from '#adapters/kafka/keyed-topic.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { holdKey, statusKey } from '#core/control.ts';
import type { ExitCode } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import { controlTopic } from '#core/topic-names.ts';
import { main } from '../../sink/main.ts';
import { openControlPool } from '../control-topic.ts';
import type { CliEnvironment } from '../environment.ts';
import { runService } from '../service-command.ts';

/** The sink of a rehearsal, in this process: a target of its own beside the live ones, with its own position and dead letters. */
export class CloneSink {
  readonly config: Config;
  readonly target: TargetConfig;
  /** As the sink keeps it. */
  status: ServiceStatus;
  readonly #ended = new AbortController();
  readonly #stopped = new AbortController();
  readonly #logger: Logger;
  #run: Promise<ExitCode> | null = null;

  constructor(config: Config, target: TargetConfig, url: string, logger: Logger) {
    this.target = { ...target, name: `rehearsal-${target.name}`, url };
    this.config = { ...config, targets: [this.target], http: { host: '127.0.0.1', port: 0 } };
    this.status = newStatus('sink', this.target.name);
    this.#logger = logger;
  }

  /** Aborts when the sink ends, whyever. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  start(cli: CliEnvironment): void {
    const loop = {
      service: 'sink',
      instance: this.target.name,
      main: async (context: Parameters<typeof main>[2]): Promise<void> => {
        this.status = context.status;
        await main(this.config, this.target.name, context, { pace: (reader) => reader, keepsLetters: true });
      },
    } as const;
    const signal = AbortSignal.any([cli.signal, this.#stopped.signal]);
    this.#run = runService(this.config, [loop], () => Promise.resolve(), this.#logger, { ...cli, signal }).finally(() =>
      this.#ended.abort(),
    );
    // Whoever waits for the sink learns of its end by the signal, and of its reason by `requireAlive`.
    this.#run.catch(() => undefined);
  }

  /** @throws RestageError clone_refused with the sink's own reason, or what it ended by. */
  async requireAlive(): Promise<void> {
    if (!this.#ended.signal.aborted) return;
    await this.#run;
    throw new RestageError('clone_refused', `the sink of the clone stopped: ${this.status.detail}`, {
      where: `sink ${this.target.name}`,
      fix: 'mend what it says, as for the live target',
    });
  }

  /** Drains it, and takes back what it said of itself to the pipeline. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#run?.catch(() => undefined);
    const pool = openControlPool(this.config, this.#logger);
    try {
      const topic = controlTopic(this.config.name);
      if (!(await pool.isThere(topic))) return;
      for (const key of [statusKey('sink', this.target.name), holdKey(this.target.name)])
        await appendRecord(pool, topic, key, null);
    } finally {
      await pool.close();
    }
  }
}
