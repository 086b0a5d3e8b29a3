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

export interface LeaseChoice extends Omit<AdvisoryLeaseOptions, 'name'> {
  readonly names: readonly string[];
  /** Takes only what nobody has had for so long, so that others may come for it first. Milliseconds. */
  readonly patienceMs: number;
}

const POLL_MS = 500;
const TOUCH_MS = 3_000;
/** The server ends a session that is silent this long, which frees the lock of a holder that hangs. */
const IDLE_LIMIT = '10s';

export interface DatabaseLease extends Lease {
  /** Process number, at the server, of the session that holds or last held it; 0 before the first. */
  readonly backend: number;
  /** Had and not known to be lost: `lost` alone says nothing before the first `acquire`, nor after `release`. */
  readonly isHeld: boolean;
}

/** Whichever of several is free. */
export interface ChosenLease extends Lease {
  /** The one that it has, or last had; '' before the first. */
  readonly chosen: string;
}

/** A lease as a session advisory lock (PostgreSQL: "Advisory Locks"). May be acquired again after it was lost. */
export function createAdvisoryLease({ name, ...rest }: AdvisoryLeaseOptions): DatabaseLease {
  return new AdvisoryLease({ ...rest, names: [name], patienceMs: 0 });
}

/** One of these leases, of which each has one holder. */
export function createChosenLease(options: LeaseChoice): ChosenLease {
  return new AdvisoryLease(options);
}

class AdvisoryLease implements DatabaseLease, ChosenLease {
  readonly #options: LeaseChoice;
  #chosen = '';
  #lost = new AbortController();
  #client: pg.Client | null = null;
  #timer: NodeJS.Timeout | null = null;
  #backend = 0;

  constructor(options: LeaseChoice) {
    this.#options = options;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  get chosen(): string {
    return this.#chosen;
  }

  get backend(): number {
    return this.#backend;
  }

  get isHeld(): boolean {
    return this.#client !== null && !this.#lost.signal.aborted;
  }

  async acquire(signal: AbortSignal, onWait: () => void): Promise<void> {
    if (this.isHeld) return;
    await this.release();
    const client = await this.#options.connect();
    let hasWaited = false;
    try {
      await client.query(`SET idle_session_timeout = '${IDLE_LIMIT}'`);
      this.#backend = await backendOf(client);
      const freeSince = new Map<string, number>();
      while (!(await this.#tryAny(client, freeSince))) {
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

  async #tryAny(client: pg.Client, freeSince: Map<string, number>): Promise<boolean> {
    const { names, patienceMs } = this.#options;
    for (const name of names) {
      const isFree = patienceMs === 0 || !(await isLocked(client, name));
      if (!isFree) freeSince.delete(name);
      else if (!freeSince.has(name)) freeSince.set(name, Date.now());
      if (!isFree || Date.now() - (freeSince.get(name) ?? 0) < patienceMs || !(await tryLock(client, name))) continue;
      this.#chosen = name;
      return true;
    }
    return false;
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
    const touch = (): void => {
      isAnswered = false;
      client.query('SELECT 1').then(() => (isAnswered = true), lose);
    };
    this.#timer = setInterval(() => {
      if (isAnswered) return touch();
      // No answer within one interval: the server may have freed the lock already. But where this process was held up itself, for longer than
      // that, the answer has come and is only read after the timers.
      setImmediate(() => setImmediate(() => (isAnswered ? touch() : lose())));
    }, TOUCH_MS);
  }
}

const keySql = (name: string): string => `hashtextextended('restage:' || ${name}, 0)`;

/**
 * Condition on a row of pg_locks, by its alias: somebody holds the lease whose name is the SQL expression `name`. A key of 64 bits stands there
 * in two halves (PostgreSQL: "pg_locks").
 */
export function leaseKeySql(alias: string, name: string): string {
  return `${alias}.locktype = 'advisory' AND ${alias}.granted AND ${alias}.objsubid = 1
        AND ${alias}.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND ((${alias}.classid::int8 << 32) | ${alias}.objid::int8) = ${keySql(name)}`;
}

/** Ends the session that holds a lease, so that its holder learns at once that it lost it. */
export async function endLeaseHolder(client: pg.ClientBase, name: string): Promise<void> {
  await client.query(`SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE ${leaseKeySql('l', '$1::text')}`, [
    name,
  ]);
}

async function isLocked(client: pg.Client, name: string): Promise<boolean> {
  const found = await client.query(`SELECT FROM pg_locks l WHERE ${leaseKeySql('l', '$1::text')}`, [name]);
  return (found.rowCount ?? 0) > 0;
}

async function tryLock(client: pg.Client, name: string): Promise<boolean> {
  const sql = `SELECT pg_try_advisory_lock(${keySql('$1::text')}) AS won`;
  return (await client.query<{ won: boolean }>(sql, [name])).rows[0]?.won === true;
}

async function backendOf(client: pg.Client): Promise<number> {
  return (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid ?? 0;
}
