import type { SnapshotGate } from '#core/control.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { structureRecord } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import { formatTable, tableKey } from '#core/table-name.ts';
import type { Announcement, LateLoads } from './late-loads.ts';
import type { ManifestBook } from './manifest-book.ts';
import { uniteTables, type NewTables } from './new-tables.ts';

export interface ServeOptions {
  readonly late: LateLoads;
  readonly manifests: ManifestBook;
  readonly requests: SnapshotGate;
  /** The tables that are captured, as the source's catalog has them now. */
  readonly choose: () => Promise<readonly TableStructure[]>;
  readonly newTables: Pick<NewTables, 'find'>;
  /** Captured tables that only another load mends, by tableKey, and what happened to them. */
  readonly changed: () => ReadonlyMap<string, string>;
  readonly schemasTopic: string;
  /** Goes on with what an earlier life announced and did not end; null for nothing. */
  readonly goOn: (() => Promise<void>) | null;
  /** Takes a snapshot and queues plan, chunks and end of these tables. */
  readonly load: (tables: readonly TableStructure[]) => Promise<void>;
  readonly failpoints: Failpoints;
  readonly logger: Logger;
}

const POLL_MS = 500;

/**
 * Loads tables while the stream goes on, one announcement after another, until aborted. A request is cleared between its announcement
 * and the end of that load, whose manifests name it all the while: so it is served once, wherever the producer dies.
 */
export async function serveLateLoads(options: ServeOptions, signal: AbortSignal): Promise<void> {
  const { late, manifests, logger, load, goOn } = options;
  if (goOn !== null) {
    await clearAll(options, manifests.last?.late?.requests ?? []);
    await goOn();
  }
  while (!signal.aborted) {
    const announced = late.takeAnnounced();
    if (announced === null) {
      late.want(await collect(options));
      await late.changed.wait(POLL_MS, signal);
      continue;
    }
    logger.info({ tables: announced.tables.map(formatTable) }, 'tables are loaded again');
    await clearAll(options, announced.requests);
    await load(announced.tables);
  }
}

/** What is asked for and what is new; null for nothing. */
async function collect(options: ServeOptions): Promise<Announcement | null> {
  const fresh = await options.newTables.find();
  const { tables, ids } = await collectRequests(options);
  const all = uniteTables(tables, fresh, await collectChanged(options));
  if (all.length === 0) return null;
  const structures = new TopicBatches();
  for (const record of fresh.map(structureRecord))
    structures.append(options.schemasTopic, record.key, record.value, NO_HEADERS);
  return { tables: all, requests: ids, data: structures.finish() };
}

async function collectChanged({ changed, choose, logger }: ServeOptions): Promise<readonly TableStructure[]> {
  const found = changed();
  if (found.size === 0) return [];
  const tables = (await choose()).filter((table) => found.has(tableKey(table)));
  for (const table of tables)
    logger.warn(
      { table: formatTable(table) },
      `a partitioned table is loaded again: ${found.get(tableKey(table)) ?? ''}`,
    );
  return tables;
}

/** A table that is not captured (any more) is said and left out. */
async function collectRequests(options: ServeOptions): Promise<{ tables: TableStructure[]; ids: string[] }> {
  const { requests } = options.requests;
  if (requests.length === 0) return { tables: [], ids: [] };
  const chosen = new Map((await options.choose()).map((structure) => [tableKey(structure), structure]));
  const tables: TableStructure[] = [];
  const ids: string[] = [];
  for (const { id, tables: asked } of requests) {
    const found = asked.flatMap((name) => chosen.get(tableKey(name)) ?? []);
    const missing = asked.filter((name) => !chosen.has(tableKey(name)));
    if (missing.length > 0)
      options.logger.warn({ tables: missing.map(formatTable) }, 'tables of a request for a snapshot are not captured');
    tables.push(...found);
    if (found.length === 0) await options.requests.clear(id);
    else ids.push(id);
  }
  return { tables, ids };
}

async function clearAll({ requests, failpoints }: ServeOptions, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  failpoints.hit('producer.lateRequest.before');
  for (const id of ids) await requests.clear(id);
  failpoints.hit('producer.lateRequest.after');
}
