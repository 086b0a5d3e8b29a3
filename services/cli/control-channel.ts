import * as z from 'zod';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { appendRecord, follow, readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { endOffset } from '#adapters/kafka/offsets.ts';
import { pause } from '#core/backoff.ts';
import {
  desiredKey,
  holdKey,
  SNAPSHOT_PREFIX,
  snapshotKey,
  STATUS_INTERVAL_MS,
  STATUS_STALE_MS,
  statusKey,
  stopKey,
  type DesiredState,
  type PauseGate,
  type StatusRecord,
} from '#core/control.ts';
import { reactTo } from '#core/error-policy.ts';
import { describeError } from '#core/errors.ts';
import { FlowMeter } from '#core/flow-meter.ts';
import { letterAnswerKey, letterCommandKey, letterCommandPrefix } from '#core/letter-command.ts';
import type { Logger } from '#core/log.ts';
import type { ServiceStatus } from '#core/status.ts';
import { controlTopic } from '#core/topic-names.ts';
import type { WaitMeter } from '#core/wait-meter.ts';
import { LetterCommands } from './letter-commands.ts';
import { HoldRequests } from './hold-requests.ts';
import { SnapshotRequests } from './snapshot-requests.ts';

const desiredSchema = z.object({ state: z.enum(['run', 'paused']) });
/** What a service needs to know of another instance of it. */
const statusSchema = z.object({
  at: z.number(),
  pid: z.number(),
  address: z.string(),
  status: z.object({ state: z.string() }),
});
type OtherStatus = z.infer<typeof statusSchema>;
const RETRY_INTERVAL_MS = 1_000;

export interface ControlChannelOptions {
  readonly name: string;
  readonly pool: ConnectionPool;
  readonly status: ServiceStatus;
  /** Base URL of the service's HTTP endpoints; '' for none. */
  readonly address: string;
  readonly logger: Logger;
  /** Somebody tells the services of this pipeline to drain and end. */
  readonly onStop: () => void;
  readonly waits: WaitMeter;
}

/**
 * A service's side of `<name>.control`: says how it is every 2 s, and obeys the desired state, which outlives it, and requests to hold.
 * A stand-by says nothing: the word is its active one's.
 * A Kafka that is away is not this channel's to report twice: it goes on trying, and the service's own loop says so.
 */
export class ControlChannel implements PauseGate {
  readonly hold: HoldRequests;
  readonly snapshots: SnapshotRequests;
  readonly letters: LetterCommands;
  readonly #options: ControlChannelOptions;
  readonly #topic: string;
  readonly #closing = new AbortController();
  readonly #resumed = new EventTarget();
  readonly #key: string;
  readonly #statusKey: string;
  readonly #lettersPrefix: string | null;
  readonly #holdKey: string | null;
  #next = 0n;
  #isPaused = false;
  /** When another instance last said that it is at work. */
  #otherAt = 0;
  readonly #flow = new FlowMeter();
  #loops: Promise<unknown> = Promise.resolve();

  constructor(options: ControlChannelOptions) {
    this.#options = options;
    this.#topic = controlTopic(options.name);
    const { service, instance } = options.status;
    this.#key = desiredKey(service, instance);
    this.#statusKey = statusKey(service, instance);
    this.#holdKey = service === 'sink' ? holdKey(instance) : null;
    this.#lettersPrefix = service === 'transformer' ? letterCommandPrefix(instance) : null;
    this.hold = new HoldRequests((id) => this.#acknowledge(id));
    this.snapshots = new SnapshotRequests((id) => appendRecord(options.pool, this.#topic, snapshotKey(id), null));
    this.letters = new LetterCommands(async (id, outcomes) => {
      await appendRecord(options.pool, this.#topic, letterAnswerKey(id), JSON.stringify(outcomes));
      await appendRecord(options.pool, this.#topic, letterCommandKey(instance, id), null);
    });
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Reads the desired state before any work is done, then keeps both directions going. */
  async open(): Promise<void> {
    const { pool } = this.#options;
    this.#next = await endOffset(pool, this.#topic, 'read_committed');
    const known = await readCompacted(pool, this.#topic);
    this.#obey(known.get(this.#key));
    this.#noteOther(known.get(this.#statusKey));
    if (this.#holdKey !== null) this.hold.take(known.get(this.#holdKey));
    for (const [key, value] of known) {
      if (key.startsWith(SNAPSHOT_PREFIX)) this.snapshots.take(key, value);
      this.#takeLetters(key, value);
    }
    this.#loops = Promise.all([
      this.#repeat(STATUS_INTERVAL_MS, () => this.#sayWithFlow()),
      this.#repeat(RETRY_INTERVAL_MS, () => this.#listen()),
    ]);
  }

  async whenRunning(signal: AbortSignal): Promise<void> {
    while (this.#isPaused && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#resumed.removeEventListener('resume', wake);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#resumed.addEventListener('resume', wake);
        signal.addEventListener('abort', wake);
      });
    }
  }

  /** Says a last word, so that `status` shows how it ended. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.hold.close();
    await this.#loops;
    await this.#say().catch((error: unknown) =>
      this.#options.logger.debug({ err: error }, 'the last status was not written'),
    );
  }

  async #sayWithFlow(): Promise<void> {
    const { status, waits } = this.#options;
    const { user, system } = process.cpuUsage();
    status.flow = this.#flow.note(status, Date.now(), waits.waitedMs, (user + system) / 1000);
    await this.#say();
  }

  async #say(): Promise<void> {
    const { status, address, pool } = this.#options;
    if (!this.#hasWord()) return;
    const record: StatusRecord = { status, address, pid: process.pid, at: Date.now() };
    await appendRecord(pool, this.#topic, this.#statusKey, JSON.stringify(record));
  }

  /** The active one has; when nobody is at work, whoever is about to be, so that people see why it is not yet. */
  #hasWord(): boolean {
    const { state } = this.#options.status;
    if (state === 'standby') return false;
    return ACTIVE.has(state) || Date.now() - this.#otherAt >= STATUS_STALE_MS;
  }

  #noteOther(value: Buffer | null | undefined): void {
    const record = readStatus(value);
    if (record === null || (record.pid === process.pid && record.address === this.#options.address)) return;
    if (ACTIVE.has(record.status.state)) this.#otherAt = record.at;
  }

  /** At once, since somebody waits for it; should it be lost, the next status says the same. */
  #acknowledge(id: string | null): void {
    this.#options.status.held = id ?? '';
    this.#say().catch((error: unknown) => this.#options.logger.debug({ err: error }, 'a hold was not acknowledged'));
  }

  async #listen(): Promise<void> {
    for await (const records of follow(this.#options.pool, this.#topic, this.#next, this.#closing.signal)) {
      for (const record of records) {
        const key = record.key?.toString('utf8');
        if (key === stopKey()) this.#options.onStop();
        else if (key === this.#key) this.#obey(record.value);
        else if (key === this.#statusKey) this.#noteOther(record.value);
        else if (key !== undefined && key === this.#holdKey) this.hold.take(record.value);
        else if (key?.startsWith(SNAPSHOT_PREFIX) === true) this.snapshots.take(key, record.value);
        else if (key !== undefined) this.#takeLetters(key, record.value);
        this.#next = record.offset + 1n;
      }
    }
  }

  #takeLetters(key: string, value: Buffer | null): void {
    const prefix = this.#lettersPrefix;
    if (prefix !== null && key.startsWith(prefix)) this.letters.take(key.slice(prefix.length), value);
  }

  #obey(value: Buffer | null | undefined): void {
    const desired = readDesired(value);
    if ((desired === 'paused') === this.#isPaused) return;
    this.#isPaused = desired === 'paused';
    this.#options.status.isPaused = this.#isPaused;
    this.#options.logger.info(this.#isPaused ? 'paused' : 'resumed');
    // At once, for somebody looks; should it be lost, the next status says the same.
    this.#say().catch((error: unknown) => this.#options.logger.debug({ err: error }, 'a pause was not shown at once'));
    if (!this.#isPaused) this.#resumed.dispatchEvent(new Event('resume'));
  }

  async #repeat(everyMs: number, step: () => Promise<void>): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await step().catch((error: unknown) => {
        if (reactTo(error).do === 'stop') this.#options.logger.warn(describeError(error));
        else this.#options.logger.debug({ err: error }, 'the control topic is out of reach');
      });
      await pause(everyMs, signal);
    }
  }
}

const ACTIVE: ReadonlySet<string> = new Set(['loading', 'indexing', 'streaming', 'paused', 'held', 'draining']);

/** null for a record that is not of the known form. */
function readStatus(value: Buffer | null | undefined): OtherStatus | null {
  try {
    const parsed = statusSchema.safeParse(JSON.parse(value?.toString('utf8') ?? 'null'));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

/** A record that is not of the known form is as none: a service runs unless told otherwise. */
function readDesired(value: Buffer | null | undefined): DesiredState {
  if (value === null || value === undefined) return 'run';
  try {
    const parsed = desiredSchema.safeParse(JSON.parse(value.toString('utf8')));
    return parsed.success ? parsed.data.state : 'run';
  } catch {
    return 'run';
  }
}
