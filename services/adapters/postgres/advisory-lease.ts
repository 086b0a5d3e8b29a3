import type pg from 'pg';
import { pause } from '#core/backoff.ts';
import type { Lease } from '#core/lease.ts';
import type { Logger } from '#core/log.ts';

export interface AdvisoryLeaseOptions {
  /** Opens the session that holds the lock; never through a pooler. */
  readonly connect: () => Promise<pg.Client>;
  readonly name: string;
  readonly logger: Logger;
}

const POLL_MS = 500;
const TOUCH_MS = 3_000;
/** The server ends a session that is silent this long, which frees the lock of a holder that hangs. */
const IDLE_LIMIT = '10s';

/** A lease as a session advisory lock (PostgreSQL: "Advisory Locks"). May be acquired again after it was lost. */
export function createAdvisoryLease(options: AdvisoryLeaseOptions): Lease {
  return new AdvisoryLease(options);
}

class AdvisoryLease implements Lease {
  readonly #options: AdvisoryLeaseOptions;
  #lost = new AbortController();
  #client: pg.Client | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: AdvisoryLeaseOptions) {
    this.#options = options;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async acquire(signal: AbortSignal, onWait: () => void): Promise<void> {
    if (this.#client !== null && !this.#lost.signal.aborted) return;
    await this.release();
    const client = await this.#options.connect();
    let hasWaited = false;
    try {
      await client.query(`SET idle_session_timeout = '${IDLE_LIMIT}'`);
      while (!(await tryLock(client, this.#options.name))) {
        if (!hasWaited) onWait();
        hasWaited = true;
        await pause(POLL_MS, signal);
        signal.throwIfAborted();
      }
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    this.#hold(client);
  }

  async release(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => undefined);
  }

  #hold(client: pg.Client): void {
    const lost = new AbortController();
    this.#lost = lost;
    this.#client = client;
    const lose = (): void => {
      if (this.#client === client) lost.abort();
    };
    client.once('end', lose);
    let isAnswered = true;
    this.#timer = setInterval(() => {
      // No answer within one interval: the server may have freed the lock already.
      if (!isAnswered) return lose();
      isAnswered = false;
      client.query('SELECT 1').then(() => (isAnswered = true), lose);
    }, TOUCH_MS);
  }
}

async function tryLock(client: pg.Client, name: string): Promise<boolean> {
  const { rows } = await client.query<{ won: boolean }>('SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS won', [
    `restage:${name}`,
  ]);
  return rows[0]?.won === true;
}
