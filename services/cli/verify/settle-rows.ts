import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { pause } from '#core/backoff.ts';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import { RowCase, type Judgement, type RowVersion } from '#core/verify/row-case.ts';
import type { RowDifference, RowKey, UnverifiedRow } from '#core/verify/verify-report.ts';
import type { SuspectKey } from './scan-tables.ts';
import type { TablePair, TableSide } from './table-pair.ts';
import { countSql, lookUpSql } from './table-sql.ts';

const ROWS_A_BATCH = 500;
const ROUND_MS = 2;
const BARRIER_MS = 250;
/** For batches after one during which the sink stood still. */
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
  readonly unverified: readonly UnverifiedRow[];
}

/** Reads suspects again and again on both sides until each is equal or proven different, or no more can be learned. */
export async function settleRows(
  pair: TablePair,
  suspects: readonly SuspectKey[],
  options: SettleOptions,
): Promise<Settled> {
  const different: RowDifference[] = [];
  const unverified: UnverifiedRow[] = [];
  let { patienceMs } = options;
  for (let at = 0; at < suspects.length; at += ROWS_A_BATCH) {
    const batch = new Batch(pair, suspects.slice(at, at + ROWS_A_BATCH), { ...options, patienceMs });
    const settled = await batch.settle();
    if (settled.unverified.length > 0 && !batch.hasSinkMoved) patienceMs = Math.min(patienceMs, SHORT_PATIENCE_MS);
    different.push(...settled.different);
    unverified.push(...settled.unverified);
  }
  return { different, unverified };
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
    while (this.#open.size > 0 && clock() - settledAt < patienceMs) {
      signal.throwIfAborted();
      const before = this.#open.size;
      await this.#look();
      if (this.#open.size < before) settledAt = clock();
      else await pause(ROUND_MS, signal);
    }
    const unverified = [...this.#open.values()].map(({ key }) => ({ key: this.#name(key), reason: this.#reason() }));
    return { different: this.#different, unverified };
  }

  /** Whether two reads saw different positions of the target. */
  get hasSinkMoved(): boolean {
    return this.#through !== this.#firstThrough;
  }

  #reason(): string {
    if (this.#through === null) return 'the target has no position of this pipeline';
    return this.hasSinkMoved
      ? 'never at rest while the sink passed by'
      : `the sink stands at ${formatLsn(this.#through)}`;
  }

  async #look(): Promise<void> {
    const { source, target, pipeline, clock } = this.#options;
    const keys = [...this.#open.values()].map(({ key }) => key);
    const through = `SELECT through FROM restage.checkpoint WHERE pipeline = ${this.#pipelineParameter()}`;
    await this.#emitBarrier();
    const [from, to] = await Promise.all([
      this.#read(source, this.#pair.source, keys, SOURCE_POSITION, []),
      this.#read(target, this.#pair.target, keys, through, [pipeline]),
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
        this.#different.push(this.#describe(key, judgement, from.versions[index], to.versions[index]));
    }
  }

  async #read(
    client: pg.ClientBase,
    side: TableSide,
    keys: readonly SuspectKey[],
    position: string,
    more: readonly string[],
  ): Promise<Reading> {
    const filter = side === this.#pair.source ? this.#pair.filter : null;
    const sql = side.key.length === 0 ? countSql(side, filter, position) : lookUpSql(side, filter, position);
    const arrays = Array.from({ length: this.#width() }, (_, column) => keys.map((key) => key[column] ?? ''));
    const { rows } = await client.query<ReadRow>({
      name: `verify_${side.oid}`,
      text: sql,
      values: [...arrays, ...more],
    });
    const versions: (RowVersion | null)[] = keys.map(() => null);
    for (const row of rows) {
      if (row.xmin === null || (filter !== null && !filter.passes(row.filter ?? []))) continue;
      versions[row.n - 1] = addVersions(versions[row.n - 1] ?? null, { xmin: row.xmin, hashes: row.hashes });
    }
    const [first] = rows;
    return { versions, position: first === undefined || first.position === null ? null : parseLsn(first.position) };
  }

  /** A source at rest writes nothing that would move the sink's position; a message does, at once. */
  async #emitBarrier(): Promise<void> {
    const { source, clock } = this.#options;
    if (clock() - this.#barrierAt < BARRIER_MS) return;
    this.#barrierAt = clock();
    await emitBarrier(source);
  }

  #describe(
    key: SuspectKey,
    judgement: Extract<Judgement, { is: 'different' }>,
    from: RowVersion | null | undefined,
    to: RowVersion | null | undefined,
  ): RowDifference {
    if (this.#pair.keyNames.length === 0) {
      const isFewer = Number(to?.hashes[0] ?? 0) < Number(from?.hashes[0] ?? 0);
      return { key: this.#name(key), kind: isFewer ? 'missing' : 'extra', columns: [] };
    }
    return {
      key: this.#name(key),
      kind: judgement.kind,
      columns: judgement.columns.map((column) => this.#pair.columnNames[column] ?? ''),
    };
  }

  #name(key: SuspectKey): RowKey {
    const names = this.#pair.keyNames.length === 0 ? ['row'] : this.#pair.keyNames;
    return Object.fromEntries(names.map((name, index) => [name, key[index] ?? '']));
  }

  #width(): number {
    return Math.max(1, this.#pair.keyNames.length);
  }

  #pipelineParameter(): string {
    return `$${this.#width() + 1}`;
  }
}

interface ReadRow {
  readonly position: string | null;
  readonly n: number;
  readonly xmin: string | null;
  readonly hashes: string[];
  readonly filter: (string | null)[] | null;
}

interface Reading {
  readonly versions: readonly (RowVersion | null)[];
  readonly position: Lsn | null;
}

/** Groups of equal rows of a table without identity are one: their writers together, their numbers added. */
function addVersions(known: RowVersion | null, more: RowVersion): RowVersion {
  if (known === null) return more;
  return { xmin: `${known.xmin} ${more.xmin}`, hashes: [String(Number(known.hashes[0]) + Number(more.hashes[0]))] };
}

/** Any role may write one, also where transactions are read-only by default (PostgreSQL: "Replication Management Functions"). */
export async function emitBarrier(source: pg.ClientBase): Promise<void> {
  await source.query(
    `SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_logical_emit_message(true, 'restage', $1) END`,
    [`verify:${randomUUID()}`],
  );
}
