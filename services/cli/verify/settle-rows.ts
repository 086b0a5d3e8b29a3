import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { pause } from '#core/backoff.ts';
import { SPREAD_FORMAT } from '#adapters/postgres/target/target-state.ts';
import { formatLsn, type Lsn } from '#core/lsn.ts';
import { RowCase } from '#core/verify/row-case.ts';
import type { RowDifference } from '#core/verify/verify-report.ts';
import { describeDifference, readVersions } from './read-versions.ts';
import type { SuspectKey } from './row-cursor.ts';
import type { TablePair } from './table-pair.ts';

const ROWS_A_BATCH = 500;
const ROUND_MS = 2;
const BARRIER_MS = 250;
/** For batches after one during which the sink stood still, and where the target has no one position. */
const SHORT_PATIENCE_MS = 1_000;

/** End of WAL; on a stand-by what was replayed last (PostgreSQL: "System Administration Functions"). */
export const SOURCE_POSITION = `SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                                       ELSE pg_catalog.pg_current_wal_insert_lsn() END`;

export interface SettleOptions {
  /** Sessions outside any transaction: every read has a snapshot of its own. */
  readonly source: pg.ClientBase;
  readonly target: pg.ClientBase;
  readonly pipeline: string;
  /** A batch in which nothing was settled for so long is given up. Milliseconds. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
  readonly clock: () => number;
}

export interface Settled {
  readonly different: readonly RowDifference[];
  readonly open: readonly OpenRow[];
}

/** A row that could not be judged, and why. */
export interface OpenRow {
  readonly key: SuspectKey;
  readonly reason: string;
}

/** Reads suspects again and again on both sides until each is equal or proven different, or no more can be learned. */
export async function settleRows(
  pair: TablePair,
  suspects: readonly SuspectKey[],
  options: SettleOptions,
): Promise<Settled> {
  const different: RowDifference[] = [];
  const open: OpenRow[] = [];
  let { patienceMs } = options;
  for (let at = 0; at < suspects.length; at += ROWS_A_BATCH) {
    const batch = new Batch(pair, suspects.slice(at, at + ROWS_A_BATCH), { ...options, patienceMs });
    const settled = await batch.settle();
    if (settled.open.length > 0 && !batch.hasSinkMoved) patienceMs = Math.min(patienceMs, SHORT_PATIENCE_MS);
    different.push(...settled.different);
    open.push(...settled.open);
  }
  return { different, open };
}

class Batch {
  readonly #pair: TablePair;
  readonly #options: SettleOptions;
  readonly #open: Map<string, { readonly key: SuspectKey; readonly row: RowCase }>;
  readonly #different: RowDifference[] = [];
  #sourceEnd: Lsn | null = null;
  #firstThrough: Lsn | null = null;
  #through: Lsn | null = null;
  #barrierAt = -Infinity;

  constructor(pair: TablePair, keys: readonly SuspectKey[], options: SettleOptions) {
    this.#pair = pair;
    this.#options = options;
    this.#open = new Map(keys.map((key) => [JSON.stringify(key), { key, row: new RowCase() }]));
  }

  async settle(): Promise<Settled> {
    const { clock, signal, patienceMs } = this.#options;
    let settledAt = clock();
    const patience = (): number => (this.#through === null ? Math.min(patienceMs, SHORT_PATIENCE_MS) : patienceMs);
    while (this.#open.size > 0 && clock() - settledAt < patience()) {
      signal.throwIfAborted();
      const before = this.#open.size;
      await this.#look();
      if (this.#open.size < before) settledAt = clock();
      else await pause(ROUND_MS, signal);
    }
    const open = [...this.#open.values()].map(({ key }) => ({ key, reason: this.#reason() }));
    return { different: this.#different, open };
  }

  /** Whether two reads saw different positions of the target. */
  get hasSinkMoved(): boolean {
    return this.#through !== this.#firstThrough;
  }

  #reason(): string {
    if (this.#through === null) return 'the target has no one position of this pipeline';
    return this.hasSinkMoved
      ? 'never at rest while the sink passed by'
      : `the sink stands at ${formatLsn(this.#through)}`;
  }

  async #look(): Promise<void> {
    const { source, target, pipeline, clock } = this.#options;
    const keys = [...this.#open.values()].map(({ key }) => key);
    await this.#emitBarrier();
    const [from, to] = await Promise.all([
      readVersions(source, this.#pair, 'source', keys, { sql: () => SOURCE_POSITION, values: [] }),
      readVersions(target, this.#pair, 'target', keys, {
        // While lanes apply (ordering: key) rows may be ahead of the checkpoint, each by its own.
        sql: (parameter) =>
          `SELECT through FROM restage.checkpoint WHERE pipeline = ${parameter} AND format <> ${SPREAD_FORMAT}`,
        values: [pipeline],
      }),
    ]);
    const now = clock();
    const before = this.#sourceEnd;
    this.#sourceEnd = from.position;
    this.#firstThrough ??= to.position;
    this.#through = to.position;
    for (const [index, key] of keys.entries()) {
      const id = JSON.stringify(key);
      const suspect = this.#open.get(id)?.row;
      if (suspect === undefined || from.position === null || to.position === null) continue;
      if (before !== null) suspect.noteSource(from.versions[index] ?? null, before, from.position);
      const judgement = suspect.noteTarget(to.versions[index] ?? null, to.position, now);
      if (judgement === null) continue;
      this.#open.delete(id);
      if (judgement.is === 'different')
        this.#different.push(
          describeDifference(this.#pair, key, judgement, from.versions[index] ?? null, to.versions[index] ?? null),
        );
    }
  }

  /** A source at rest writes nothing that would move the sink's position; a message does, at once. */
  async #emitBarrier(): Promise<void> {
    const { source, clock } = this.#options;
    if (clock() - this.#barrierAt < BARRIER_MS) return;
    this.#barrierAt = clock();
    await emitBarrier(source);
  }
}

/** Any role may write one, also where transactions are read-only by default (PostgreSQL: "Replication Management Functions"). */
export async function emitBarrier(source: pg.ClientBase): Promise<void> {
  await source.query(
    `SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_logical_emit_message(true, 'restage', $1) END`,
    [`verify:${randomUUID()}`],
  );
}
