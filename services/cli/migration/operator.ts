import { hostname, userInfo } from 'node:os';
import type pg from 'pg';
import { createAdvisoryLease, leaseKeySql, type DatabaseLease } from '#adapters/postgres/advisory-lease.ts';
import { appendRecordAs, prepareJournal, readJournalAs } from '#adapters/postgres/migration/migration-journal.ts';
import { leaveOldSide } from '#adapters/postgres/migration/guard.ts';
import { joinTerm, prepareSide, readSide, takeTerm } from '#adapters/postgres/migration/side-state.ts';
import { connectPg, cutSession } from '#adapters/postgres/session.ts';
import { endStaleSessions } from '#adapters/postgres/target/apply-session.ts';
import { backoffMs, pause } from '#core/backoff.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { reactTo } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import type { JournalEntry, JournalRecord, Side } from '#core/migration/journal.ts';
import type { OperatorJournal } from '#core/migration/switch-run.ts';
import { sourceKey, sourceKeys } from '#core/migration/together.ts';

/** A lock that a killed operator's server session has not given up yet is waited for. */
const BUSY_MS = 3_000;
/** How long a side that is away is asked for again, in the midst of an undo. */
const AWAY_ATTEMPTS = 8;
/** A record is written in milliseconds: a server that does not answer within has fallen silent. */
const SILENT_MS = 20_000;
const NEVER = new AbortController().signal;

/** user@host:process, for the audit. */
export function whoAmI(): string {
  return `${userInfo().username}@${hostname()}:${process.pid}`;
}

/**
 * The one operator of a migration: the lock in the target, a term in both databases, one session in each that is opened anew where it
 * broke, and the journal.
 */
export class Operator implements OperatorJournal {
  readonly #config: Config;
  readonly #target: TargetConfig;
  readonly #lease: DatabaseLease;
  readonly #sessions = new Map<Side, pg.Client>();
  #term = 0;

  private constructor(config: Config, target: TargetConfig, lease: DatabaseLease) {
    this.#config = config;
    this.#target = target;
    this.#lease = lease;
  }

  /** @throws RestageError operator_busy, and what connecting throws. */
  static async open(config: Config, target: TargetConfig, logger: Logger, signal: AbortSignal): Promise<Operator> {
    const name = `${config.name}.operator`;
    const application = `restage ${config.name} operator lock`;
    const lease = createAdvisoryLease({
      connect: () => connectPg({ url: target.url, purpose: 'target', application }),
      name,
      logger,
    });
    const busy = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    try {
      await lease.acquire(AbortSignal.any([signal, busy.signal]), () => {
        timer = setTimeout(() => busy.abort(), BUSY_MS);
      });
    } catch (error) {
      if (!busy.signal.aborted) throw error;
      throw await busyError(config, target, name);
    } finally {
      clearTimeout(timer);
    }
    const operator = new Operator(config, target, lease);
    try {
      await operator.#takeTerm();
      return operator;
    } catch (error) {
      await operator.close();
      throw error;
    }
  }

  get #key(): string {
    return sourceKey(this.#config, this.#target);
  }

  get term(): number {
    return this.#term;
  }

  /** Aborted when the lock is lost. */
  get lost(): AbortSignal {
    return this.#lease.lost;
  }

  /** The source's term first, so that a target that was put back to an earlier state begins no lower. */
  async #takeTerm(): Promise<void> {
    const target = await this.#connect('target');
    const source = await this.#connect('source').catch((error: unknown) => {
      // The target alone decides; whoever needs the source says so.
      if (reactTo(error).do === 'stop') throw error;
      return null;
    });
    await prepareJournal(target);
    const known = source === null ? null : await readSide(source, this.#key);
    this.#term = await takeTerm(target, this.#config.name, (known?.term ?? 0) + 1, false);
    if (source !== null) await this.#join(source);
  }

  async #join(source: pg.Client): Promise<void> {
    await prepareSide(source);
    const siblings = this.#config.targets.map((target) => sourceKey(this.#config, target));
    const strangers = sourceKeys(this.#config).filter((key) => !siblings.includes(key));
    for (const key of strangers) await leaveOldSide(source, key);
    await joinTerm(source, this.#key, this.#term, true);
  }

  async #connect(side: Side): Promise<pg.Client> {
    const url = side === 'source' ? this.#config.source.url : this.#target.url;
    const application = `restage ${this.#config.name} operator ${this.#target.name}`;
    const client = await connectPg({ url, purpose: side, application });
    // What an earlier session had in hand, of this operator or of one before it, is over when this one begins.
    await endStaleSessions(client);
    client.once('end', () => {
      if (this.#sessions.get(side) === client) this.#sessions.delete(side);
    });
    this.#sessions.set(side, client);
    return client;
  }

  /** Its session at a side, opened anew where it broke. @throws RestageError operator_lost, and what connecting throws. */
  async session(side: Side): Promise<pg.Client> {
    const known = this.#sessions.get(side);
    if (known !== undefined) return known;
    const client = await this.#connect(side);
    if (side === 'source') await this.#join(client);
    return client;
  }

  /** Ends its sessions after so long, unless what they do has ended by then: whatever waits for a silent server fails. */
  cutAfter(ms: number, ended: AbortSignal): void {
    const timer = setTimeout(() => {
      for (const client of this.#sessions.values()) cutSession(client);
      this.#sessions.clear();
    }, ms);
    ended.addEventListener('abort', () => clearTimeout(timer), { once: true });
  }

  /** A few short statements, whose answers do not take long. */
  async #soon<T>(side: Side, work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = await this.session(side);
    const timer = setTimeout(() => cutSession(client), SILENT_MS);
    try {
      return await work(client);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Work that may be done twice, at a side that may be away for a moment; not again once `until` aborts. */
  async persist<T>(side: Side, work: (client: pg.Client) => Promise<T>, until: AbortSignal = NEVER): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#soon(side, work);
      } catch (error) {
        if (until.aborted) throw error;
        if (error instanceof RestageError && error.code === 'operator_lost') throw error;
        if (reactTo(error).do === 'stop' || attempt >= AWAY_ATTEMPTS) throw error;
        await pause(backoffMs(attempt));
      }
    }
  }

  read(): Promise<readonly JournalRecord[]> {
    return this.persist('target', (client) => readJournalAs(client, this.#config.name, this.#term));
  }

  async append(entry: JournalEntry): Promise<JournalRecord> {
    const who = { at: new Date().toISOString(), by: whoAmI(), term: this.#term };
    return this.#soon('target', (client) => appendRecordAs(client, this.#config.name, entry, who));
  }

  async close(): Promise<void> {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    await Promise.allSettled(sessions.map((client) => client.end()));
    await this.#lease.release();
  }
}

async function busyError(config: Config, target: TargetConfig, name: string): Promise<RestageError> {
  const client = await connectPg({ url: target.url, purpose: 'target', application: `restage ${config.name} cli` });
  try {
    const { rows } = await client.query<{ who: string }>(
      `SELECT 'session ' || l.pid || coalesce(' from ' || host(a.client_addr), '') || ', since ' || a.backend_start::text AS who
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE ${leaseKeySql('l', '$1::text')}`,
      [name],
    );
    return new RestageError('operator_busy', 'another operator is at work on this migration', {
      where: rows[0]?.who ?? `target ${target.name}`,
      fix: 'wait for it; restage status says which side is live and what it is doing',
    });
  } finally {
    await client.end();
  }
}
