import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { appendRecord, readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { createSlot } from '#adapters/postgres/source/slot.ts';
import { pause } from '#core/backoff.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { HOLD_RENEWAL_MS, holdKey, statusKey, type HoldRequest, parseStatusRecord } from '#core/control.ts';
import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import { quoteLiteral } from '#core/table-name.ts';
import { controlTopic } from '#core/topic-names.ts';
import { openControlPool } from '../control-topic.ts';
import { writeHold } from '../hold-requests.ts';
import { readCheckpoint } from '../target-checkpoint.ts';
import { emitBarrier } from './settle-rows.ts';

/** Sessions in a snapshot each: the source's holds what committed before `lsn`, the target's what its sink had applied by then. */
export interface ExactSnapshots extends AsyncDisposable {
  readonly source: pg.Client;
  readonly target: pg.Client;
  readonly lsn: Lsn;
}

export interface ExactOptions {
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly clock: () => number;
  /** Done before the sink goes on; what it throws is thrown. */
  readonly whileHeld?: (snapshots: ExactSnapshots) => Promise<void>;
}

const POLL_MS = 50;
/** A sink answers between two epochs; one that is down or paused does not. */
const ANSWER_MS = 20_000;
/** A slot waits for every transaction that runs when it is made (PostgreSQL: "CREATE_REPLICATION_SLOT"). */
const SLOT_MS = 60_000;
const ARRIVAL_MS = 60_000;
const SETTINGS = { row_security: 'off' };

/**
 * Holds the sink, takes the source's snapshot with a temporary slot, lets the sink go on to exactly that snapshot's LSN, takes the
 * target's, and lets it go. Gives the reason where that cannot be had: the sink stands or is away, no slot is free.
 */
export async function takeExactSnapshots(
  config: Config,
  target: TargetConfig,
  options: ExactOptions,
): Promise<ExactSnapshots | string> {
  const clients: pg.Client[] = [];
  const pool = openControlPool(config, options.logger);
  const hold = new SinkHold(config, target, pool, options);
  let taken: ExactSnapshots | string;
  try {
    taken = await takeHeld(config, target, hold, clients, options).catch((error: unknown) => {
      if (options.signal.aborted) throw error;
      return describeError(error);
    });
    if (typeof taken !== 'string') await options.whileHeld?.(taken);
  } catch (error) {
    await closeAll(clients);
    throw error;
  } finally {
    await hold.release();
    await pool.close();
  }
  if (typeof taken === 'string') await closeAll(clients);
  return taken;
}

async function takeHeld(
  config: Config,
  target: TargetConfig,
  hold: SinkHold,
  clients: pg.Client[],
  options: ExactOptions,
): Promise<ExactSnapshots | string> {
  if (!(await hold.stand())) return `the sink of ${target.name} does not answer: it is down, paused or loading`;
  const source = await openSource(config, clients);
  await hold.moveTo(source.lsn);
  await emitBarrier(source.client);
  const client = await open(target.url, 'target', config, clients);
  const reached = await waitForExactly(client, config.name, source.lsn, options);
  if (reached !== source.lsn)
    return `the sink is at ${formatLsn(reached)}, not at the ${formatLsn(source.lsn)} it was asked to stop at`;
  return { source: source.session, target: client, lsn: source.lsn, [Symbol.asyncDispose]: () => closeAll(clients) };
}

interface SourceSnapshot {
  /** In the snapshot. */
  readonly session: pg.Client;
  /** Outside any transaction. */
  readonly client: pg.Client;
  readonly lsn: Lsn;
}

/** Only a slot's snapshot has an LSN: what it sees is exactly what committed before the slot's consistent point. */
async function openSource(config: Config, clients: pg.Client[]): Promise<SourceSnapshot> {
  const { url, slot } = config.source;
  const application = `restage ${config.name} verify`;
  const client = await open(url, 'source', config, clients);
  const session = await open(url, 'source', config, clients);
  const replication = await connectPg({ url, purpose: 'source', application, replication: true });
  const limit = setTimeout(() => void replication.end().catch(() => undefined), SLOT_MS);
  try {
    const name = `${slot.slice(0, 40)}_verify_${randomUUID().slice(0, 8)}`;
    const { consistentPoint, snapshot } = await createSlot(replication, name, 'temporary');
    await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await session.query(`SET TRANSACTION SNAPSHOT ${quoteLiteral(snapshot)}`);
    return { session, client, lsn: consistentPoint };
  } finally {
    clearTimeout(limit);
    await replication.end().catch(() => undefined);
  }
}

/** Leaves the session in a snapshot of the target whose position is the one returned. */
async function waitForExactly(client: pg.Client, pipeline: string, lsn: Lsn, options: ExactOptions): Promise<Lsn> {
  const { clock, signal } = options;
  const deadline = clock() + ARRIVAL_MS;
  for (;;) {
    signal.throwIfAborted();
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const through = parseLsn((await readCheckpoint(client, pipeline))?.through ?? '0/0');
    if (through >= lsn || clock() > deadline) return through;
    await client.query('ROLLBACK');
    await pause(POLL_MS, signal);
  }
}

async function open(
  url: string,
  purpose: 'source' | 'target',
  config: Config,
  clients: pg.Client[],
): Promise<pg.Client> {
  const client = await connectPg({ url, purpose, application: `restage ${config.name} verify`, settings: SETTINGS });
  clients.push(client);
  return client;
}

async function closeAll(clients: readonly pg.Client[]): Promise<void> {
  await Promise.allSettled(clients.map((client) => client.end()));
}

/** A request on the control topic, repeated while it lasts: should this process die, the sink soon goes on. */
class SinkHold {
  readonly #topic: string;
  readonly #target: string;
  readonly #pool: ConnectionPool;
  readonly #logger: Logger;
  readonly #signal: AbortSignal;
  readonly #clock: () => number;
  readonly #id = randomUUID();
  #request: HoldRequest;
  #renewal: NodeJS.Timeout | undefined;
  #isAsked = false;

  constructor(config: Config, target: TargetConfig, pool: ConnectionPool, options: ExactOptions) {
    this.#topic = controlTopic(config.name);
    this.#target = target.name;
    this.#pool = pool;
    this.#logger = options.logger;
    this.#signal = options.signal;
    this.#clock = options.clock;
    this.#request = { id: this.#id, lsn: null };
  }

  /** Asks the sink to stand where it is; false when it does not answer. */
  async stand(): Promise<boolean> {
    const deadline = this.#clock() + ANSWER_MS;
    this.#isAsked = true;
    await this.#write();
    this.#renewal = setInterval(() => {
      this.#write().catch((error: unknown) => this.#logger.debug({ err: error }, 'a hold was not renewed'));
    }, HOLD_RENEWAL_MS);
    while (this.#clock() < deadline) {
      this.#signal.throwIfAborted();
      const record = (await readCompacted(this.#pool, this.#topic)).get(statusKey('sink', this.#target));
      if (record !== undefined && parseStatusRecord(record)?.status.held === this.#id) return true;
      await pause(POLL_MS, this.#signal);
    }
    return false;
  }

  async moveTo(lsn: Lsn): Promise<void> {
    this.#request = { id: this.#id, lsn };
    await this.#write();
  }

  async release(): Promise<void> {
    clearInterval(this.#renewal);
    if (!this.#isAsked) return;
    await appendRecord(this.#pool, this.#topic, holdKey(this.#target), null).catch((error: unknown) =>
      this.#logger.debug({ err: error }, 'a hold was not taken back; it ends by itself'),
    );
  }

  async #write(): Promise<void> {
    await appendRecord(this.#pool, this.#topic, holdKey(this.#target), writeHold(this.#request));
  }
}
