import type { SnapshotGate } from '#core/control.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey } from '#core/table-name.ts';
import type { Announcement, LateLoads } from './late-loads.ts';
import type { ManifestBook } from './manifest-book.ts';

export interface ServeOptions {
  readonly late: LateLoads;
  readonly manifests: ManifestBook;
  readonly requests: SnapshotGate;
  /** The chosen tables that are captured, as the source's catalog has them now. */
  readonly choose: () => Promise<readonly TableStructure[]>;
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

/** What is asked for now; null for nothing. A table that is not captured (any more) is said and left out. */
async function collect(options: ServeOptions): Promise<Announcement | null> {
  const { requests } = options.requests;
  if (requests.length === 0) return null;
  const chosen = new Map((await options.choose()).map((structure) => [tableKey(structure), structure]));
  const tables = new Map<string, TableStructure>();
  const ids: string[] = [];
  for (const { id, tables: asked } of requests) {
    const found = asked.flatMap((name) => chosen.get(tableKey(name)) ?? []);
    const missing = asked.filter((name) => !chosen.has(tableKey(name)));
    if (missing.length > 0)
      options.logger.warn({ tables: missing.map(formatTable) }, 'tables of a request for a snapshot are not captured');
    for (const structure of found) tables.set(tableKey(structure), structure);
    if (found.length === 0) await options.requests.clear(id);
    else ids.push(id);
  }
  return tables.size === 0 ? null : { tables: [...tables.values()], requests: ids };
}

async function clearAll({ requests, failpoints }: ServeOptions, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  failpoints.hit('producer.lateRequest.before');
  for (const id of ids) await requests.clear(id);
  failpoints.hit('producer.lateRequest.after');
}
