import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { pause } from '#core/backoff.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import { findOutput } from '#core/output-ref.ts';
import { formatTable } from '#core/table-name.ts';
import { chunkCount } from '#core/verify/chunk-digests.ts';
import {
  verdictOf,
  type RowDifference,
  type TableReport,
  type UnverifiedRow,
  type VerifyReport,
} from '#core/verify/verify-report.ts';
import { readCheckpoint } from '../target-checkpoint.ts';
import { nameDeadLetters, nameOutputLetters } from './dead-letter-rows.ts';
import type { ExactSnapshots } from './exact-snapshots.ts';
import { nameKey } from './read-versions.ts';
import { countPages, digestSource, digestTable, findSuspects, type ScanOptions, type Suspects } from './scan-tables.ts';
import { settleExactly } from './settle-exactly.ts';
import { emitBarrier, settleRows, SOURCE_POSITION, type Settled } from './settle-rows.ts';
import { compareShaped } from './compare-shaped.ts';
import { compileTables, planTables, type ShapedTable, type VerifyPlan } from './shaped-table.ts';
import type { TablePair } from './table-pair.ts';
import type { VerifyProgress } from './verify-progress.ts';

export interface VerifyOptions {
  readonly logger: Logger;
  readonly progress: VerifyProgress;
  readonly signal: AbortSignal;
  readonly clock: () => number;
  /** Both sides at one LSN, with the sink held for a moment; or why not. */
  readonly takeExact: () => Promise<ExactSnapshots | string>;
  /** How long to go on when the sink does not move (30 s by default), or rows never rest (5 s). Milliseconds. */
  readonly patienceMs?: number;
}

const PATIENCE_MS = 30_000;
/** Rows that are settled by holding the sink need not be watched for longer. */
const REST_MS = 5_000;
const POLL_MS = 5;
/** For a sink of which is known that it does not answer: it may move all the same. */
const LOOSE_MS = 1_000;

/**
 * Compares one target with the source, while both go on changing.
 *
 * First everything in two snapshots: the target's is taken the moment its sink has passed the end of the source's, so only
 * what was applied in between differs. Chunks by hash of the key are digested in both databases; unequal ones are compared
 * row by row. What differs then is suspect, and each suspect is judged by itself (core/verify/row-case.ts).
 */
export async function verifyTables(
  config: Config,
  target: TargetConfig,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const startedAt = options.clock();
  const report = (tables: readonly TableReport[], verdict: VerifyReport['verdict'], reason?: string): VerifyReport => ({
    pipeline: config.name,
    target: target.name,
    seconds: (options.clock() - startedAt) / 1_000,
    tables,
    verdict,
    ...(reason === undefined ? {} : { reason }),
  });
  await using sessions = await openSessions(config, target);
  const checkpoint = await readCheckpoint(sessions.target, config.name);
  if (checkpoint?.isLoadDone !== true)
    return report([], 'unverified', 'a load is not done: restage wait says when it is');
  const output = findOutput(config.outputs, target.output);
  const structures = await readChosenTables(sessions.source, config);
  const compiled = compileTables(structures, output);
  const plan = await planTables(config, sessions, structures, compiled);
  const run = new VerifyRun(config, sessions, options);
  const reports = [...(await run.comparePairs(plan)), ...plan.left];
  const named = await nameOutputLetters(config, output, compiled, reports);
  const settled = await nameDeadLetters(sessions.target, config.name, named);
  return { ...report(settled, verdictOf(settled)), since: checkpoint.through };
}

interface ScannedTable {
  readonly pair: TablePair;
  readonly rows: number;
  readonly chunks: number;
  readonly suspects: Suspects;
}

interface SettledTable extends ScannedTable {
  readonly settled: Settled;
}

class VerifyRun {
  readonly #config: Config;
  readonly #sessions: Sessions;
  readonly #options: VerifyOptions;
  readonly #patienceMs: number;

  constructor(config: Config, sessions: Sessions, options: VerifyOptions) {
    this.#config = config;
    this.#sessions = sessions;
    this.#options = options;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
  }

  /** Plain tables in two snapshots; then, at one LSN, their rows that never rest, and the tables whose rows the rules compute. */
  async comparePairs({ pairs, shaped }: VerifyPlan): Promise<TableReport[]> {
    const tables: SettledTable[] = [];
    if (pairs.length > 0) {
      await this.#takeSnapshots();
      for (const table of await this.#scan(pairs)) tables.push(await this.#settle(table));
    }
    const open = tables.reduce((sum, { settled }) => sum + settled.open.length, 0);
    if (open === 0 && shaped.length === 0) return tables.map((table) => reportOf(table, [], []));
    const { progress, takeExact } = this.#options;
    progress.say(
      `${open > 0 ? `${open} rows are never at rest` : 'rows are computed by rules'}: holding the sink for a moment`,
    );
    const snapshots = await takeExact();
    if (typeof snapshots === 'string')
      return [
        ...tables.map((table) => reportOpen(table, snapshots)),
        ...(await this.#compareLoosely(shaped, snapshots)),
      ];
    await using exact = snapshots;
    const reports: TableReport[] = [];
    for (const table of tables) {
      const keys = table.settled.open.map(({ key }) => key);
      reports.push(reportOf(table, await settleExactly(table.pair, keys, exact), []));
    }
    for (const table of shaped) reports.push(await this.#compareShaped(table, exact));
    return reports;
  }

  /** Without the sink's help: what is equal is so, what differs may have been on its way. */
  async #compareLoosely(shaped: readonly ShapedTable[], why: string): Promise<TableReport[]> {
    if (shaped.length === 0) return [];
    const { scanSource, scanTarget } = this.#sessions;
    await this.#takeSnapshots(LOOSE_MS);
    try {
      const reports: TableReport[] = [];
      for (const table of shaped) {
        const found = await this.#compareShaped(table, { source: scanSource, target: scanTarget });
        const open = found.different.map(({ key }) => ({ key, reason: `differs, perhaps on its way; ${why}` }));
        reports.push({ ...found, different: [], unverified: [...found.unverified, ...open] });
      }
      return reports;
    } finally {
      await Promise.all([scanSource.query('ROLLBACK'), scanTarget.query('ROLLBACK')]).catch(() => undefined);
    }
  }

  async #compareShaped(table: ShapedTable, sessions: Pick<ExactSnapshots, 'source' | 'target'>): Promise<TableReport> {
    const { signal, progress } = this.#options;
    signal.throwIfAborted();
    const report = await compareShaped(table, { ...sessions, signal });
    progress.say(`${formatTable(table.targetTable)}: ${report.rows} rows`);
    return report;
  }

  async #takeSnapshots(patienceMs = this.#patienceMs): Promise<void> {
    const { source, target, scanSource, scanTarget } = this.#sessions;
    await scanSource.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { rows } = await scanSource.query<{ lsn: string }>(`SELECT (${SOURCE_POSITION})::text AS lsn`);
    const lsn = parseLsn(rows[0]?.lsn ?? '0/0');
    await emitBarrier(source);
    if (!(await this.#waitFor(target, lsn, patienceMs)))
      this.#options.logger.warn('the sink does not move: what differs cannot be judged while it stands');
    await scanTarget.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await scanTarget.query('SELECT');
  }

  async #scan(pairs: readonly TablePair[]): Promise<ScannedTable[]> {
    const { scanSource, scanTarget } = this.#sessions;
    const { progress, signal } = this.#options;
    const pages: number[] = [];
    for (const pair of pairs)
      pages.push((await countPages(scanSource, pair.source)) + (await countPages(scanTarget, pair.target)));
    progress.begin(pages.reduce((sum, more) => sum + more, 0));
    try {
      const options = { source: scanSource, target: scanTarget, signal, onPages: (more: number) => progress.add(more) };
      const scanned: ScannedTable[] = [];
      for (const pair of pairs) scanned.push(await this.#scanTable(pair, options));
      return scanned;
    } finally {
      progress.end();
      await Promise.all([scanSource.query('ROLLBACK'), scanTarget.query('ROLLBACK')]).catch(() => undefined);
    }
  }

  async #settle(scanned: ScannedTable): Promise<SettledTable> {
    const { pair, suspects } = scanned;
    const { source, target } = this.#sessions;
    const { signal, clock, logger } = this.#options;
    if (suspects.keys.length > 0)
      logger.debug({ table: formatTable(pair.table), rows: suspects.keys.length }, 'rows differ between the snapshots');
    const settled = await settleRows(pair, suspects.keys, {
      source,
      target,
      pipeline: this.#config.name,
      patienceMs: this.#options.patienceMs ?? REST_MS,
      signal,
      clock,
    });
    return { ...scanned, settled };
  }

  async #scanTable(pair: TablePair, options: ScanOptions): Promise<ScannedTable> {
    const { source, target, signal } = options;
    signal.throwIfAborted();
    const { rows } = await source.query<{ rows: number }>(
      'SELECT greatest(reltuples, 0)::float8 AS rows FROM pg_catalog.pg_class WHERE oid = $1',
      [pair.source.oid],
    );
    const chunks = chunkCount(rows[0]?.rows ?? 0);
    const [from, to] = await Promise.all([
      digestSource(pair, chunks, options),
      digestTable(target, pair.target, chunks, options),
    ]);
    const suspects = await findSuspects(pair, chunks, from, to, options);
    this.#options.progress.say(`${formatTable(pair.targetTable)}: ${from.rows} rows`);
    return { pair, rows: from.rows, chunks, suspects };
  }

  /** Gives up when the position has not moved for a while. */
  async #waitFor(target: pg.ClientBase, lsn: Lsn, patienceMs: number): Promise<boolean> {
    const { signal, clock } = this.#options;
    let last = '';
    let movedAt = clock();
    while (clock() - movedAt < patienceMs) {
      signal.throwIfAborted();
      const through = (await readCheckpoint(target, this.#config.name))?.through ?? '0/0';
      if (parseLsn(through) >= lsn) return true;
      if (through !== last) movedAt = clock();
      last = through;
      await pause(POLL_MS, signal);
    }
    return false;
  }
}

/** What never rested, where the sink cannot be held. */
function reportOpen(table: SettledTable, why: string): TableReport {
  const open = table.settled.open.map(({ key, reason }) => ({
    key: nameKey(table.pair, key),
    reason: `${reason}; ${why}`,
  }));
  return reportOf(table, [], open);
}

function reportOf(
  { pair, rows, chunks, suspects, settled }: SettledTable,
  different: readonly RowDifference[],
  unverified: readonly UnverifiedRow[],
): TableReport {
  return {
    table: pair.table,
    targetTable: pair.targetTable,
    rows,
    chunks,
    chunksLeft: suspects.chunksLeft,
    different: [...settled.different, ...different],
    unverified,
  };
}

interface Sessions extends AsyncDisposable {
  readonly source: pg.Client;
  readonly target: pg.Client;
  readonly scanSource: pg.Client;
  readonly scanTarget: pg.Client;
}

/** Row-level security must refuse rather than hide rows. */
async function openSessions(config: Config, target: TargetConfig): Promise<Sessions> {
  const application = `restage ${config.name} verify`;
  const settings = { row_security: 'off' };
  const opened: pg.Client[] = [];
  const open = async (url: string, purpose: 'source' | 'target'): Promise<pg.Client> => {
    const client = await connectPg({ url, purpose, application, settings });
    opened.push(client);
    return client;
  };
  const close = async (): Promise<void> => {
    await Promise.allSettled(opened.map((client) => client.end()));
  };
  try {
    const { url } = config.source;
    return {
      source: await open(url, 'source'),
      target: await open(target.url, 'target'),
      scanSource: await open(url, 'source'),
      scanTarget: await open(target.url, 'target'),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
