import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { endKeepers, isStillKept, type KeptSnapshot } from '#adapters/postgres/source/kept-snapshot.ts';
import type { ExportedSnapshot } from '#adapters/postgres/source/snapshot-reader.ts';
import { createSlot } from '#adapters/postgres/source/slot.ts';
import { describeError } from '#core/errors.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import type { Lsn } from '#core/lsn.ts';
import type { BornSlot } from './birth.ts';

/** An exported snapshot of a slot. */
export interface LoadSnapshot extends ExportedSnapshot {
  /** Transactions that committed before it are seen. */
  readonly lsn: Lsn;
  /** The keeper that exports it; null: a session of this process does, and it ends with that. */
  readonly kept: KeptSnapshot | null;
}

/** Starts a keeper for an exported snapshot, and gives what it exports then. */
export type StartKeeper = (snapshot: string) => Promise<KeptSnapshot>;

export interface LoadSnapshotsOptions {
  /** A session of the holder of the lease, cut when that is lost. */
  readonly client: pg.Client;
  readonly connect: () => Promise<pg.Client>;
  readonly connectReplication: () => Promise<pg.Client>;
  readonly slot: string;
  /** null: none is wanted. */
  readonly startKeeper: StartKeeper | null;
  /** Of the keepers' sessions. */
  readonly application: string;
  readonly lease: { readonly name: string; readonly backend: () => number };
  readonly logger: Logger;
  readonly failpoints: Failpoints;
}

/**
 * The snapshots of the load: each is made with a slot, so that "seen by it" is exactly "committed before its LSN", then handed to a keeper,
 * a process that outlives this one. Nothing but the speed of a restart hangs on keepers.
 */
export class LoadSnapshots {
  readonly #options: LoadSnapshotsOptions;
  readonly #own = new Set<pg.Client>();
  #kept: KeptSnapshot | null = null;

  constructor(options: LoadSnapshotsOptions) {
    this.#options = options;
  }

  /** The snapshot of the pipeline's own slot. */
  async ofBirth(born: BornSlot): Promise<LoadSnapshot> {
    this.#own.add(born.session);
    return this.#handOver(born.session, born.snapshot, born.consistentPoint);
  }

  /** A new one, of a temporary slot, which waits for every transaction that runs; null when aborted before. */
  async take(signal: AbortSignal): Promise<LoadSnapshot | null> {
    const { connectReplication, failpoints, slot: own } = this.#options;
    const session = await connectReplication();
    this.#own.add(session);
    failpoints.hit('producer.lateSlot.before');
    const leave = (): void => void session.end().catch(() => undefined);
    signal.addEventListener('abort', leave, { once: true });
    try {
      if (signal.aborted) return null;
      const slot = await createSlot(session, `${own.slice(0, 40)}_load_${randomUUID().slice(0, 8)}`, 'temporary');
      failpoints.hit('producer.lateSlot.after');
      return await this.#handOver(session, slot.snapshot, slot.consistentPoint);
    } catch (error) {
      if (signal.aborted) return null;
      throw error;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  /** The one that an earlier life's plan names, where its keeper is still there. */
  async find(kept: KeptSnapshot, lsn: Lsn): Promise<LoadSnapshot | null> {
    const session = await this.#options.connect();
    try {
      if (!(await isStillKept(session, kept))) return null;
    } finally {
      await session.end();
    }
    this.#kept = kept;
    return { name: kept.name, sees: kept.sees, lsn, kept };
  }

  /** Ends keepers that earlier lives or snapshots left; `kept` stays. Only once Kafka has what makes them needless. */
  async endOthers(kept: KeptSnapshot | null): Promise<void> {
    const { client, application, lease, logger } = this.#options;
    const but = kept?.backend ?? null;
    const ended = await endKeepers(client, { application, lease: lease.name, leaseBackend: lease.backend(), but });
    if (ended > 0) logger.info({ ended }, 'ended keepers of snapshots that nothing needs any more');
  }

  /** The load is done: ends whatever keeps a snapshot of it. */
  async endAll(): Promise<void> {
    await this.endOthers(null);
    await this.close();
  }

  /** For a stop in the middle of the load. */
  noteStop(minutes: number): void {
    const { logger } = this.#options;
    if (this.#kept === null)
      logger.info('the load is not done; tables that are not finished will be taken again, whole');
    else
      logger.info(
        { minutes },
        `the load is not done; its snapshot is kept for ${minutes} minutes, and holds back vacuum at the source meanwhile`,
      );
  }

  /** Ends the snapshots that sessions of this process export. */
  async close(): Promise<void> {
    for (const session of this.#own) await session.end().catch(() => undefined);
    this.#own.clear();
  }

  async #handOver(session: pg.Client, name: string, lsn: Lsn): Promise<LoadSnapshot> {
    const { startKeeper, logger, failpoints } = this.#options;
    this.#kept = null;
    if (startKeeper === null) return { name, sees: null, lsn, kept: null };
    failpoints.hit('producer.keeper.before');
    let kept: KeptSnapshot;
    try {
      kept = await startKeeper(name);
    } catch (error) {
      logger.warn(
        { reason: describeError(error) },
        'no keeper for the snapshot of the load: killed now, the producer would take the unfinished tables again, whole',
      );
      return { name, sees: null, lsn, kept: null };
    }
    failpoints.hit('producer.keeper.after');
    this.#kept = kept;
    this.#own.delete(session);
    await session.end().catch(() => undefined);
    return { name: kept.name, sees: kept.sees, lsn, kept };
  }
}
