import { isDeepStrictEqual } from 'node:util';
import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { readPartitionBounds } from '#adapters/postgres/source/partition-bounds.ts';
import { addMissing } from '#adapters/postgres/source/publication.ts';
import { readKin } from '#adapters/postgres/source/table-kin.ts';
import { currentLsn } from '#adapters/postgres/source/source-identity.ts';
import { readTableOids } from '#adapters/postgres/source/table-oids.ts';
import { READER_SETTINGS } from '#adapters/postgres/source/snapshot-reader.ts';
import type { BoundedQueue } from '#core/bounded-queue.ts';
import type { LoadedTables } from '#core/debezium/loaded-tables.ts';
import { keyPartitioner } from '#core/partitioner.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';
import { schemasTopic } from '#core/topic-names.ts';
import type { BornSlot } from './birth.ts';
import { chooseTables, findTables, takeTables } from './choose-tables.ts';
import type { LateLoads } from './late-loads.ts';
import type { LoadItem } from './load-item.ts';
import type { LoadSnapshot, LoadSnapshots } from './load-snapshots.ts';
import { loadTables, type LoaderOptions } from './loader.ts';
import type { ManifestBook } from './manifest-book.ts';
import { NewTables } from './new-tables.ts';
import type { PartitionBook } from './partition-book.ts';
import type { ProducerParts } from './producer-parts.ts';
import { LOAD_PARTS } from './publisher.ts';
import type { RelationBook } from './relation-book.ts';
import { serveLateLoads } from './serve-late-loads.ts';
import type { TableTopics } from './table-topics.ts';
import type { UnfinishedLoad } from './unfinished-load.ts';
import type { WrittenStructures } from './written-structures.ts';

export interface LoadTools {
  readonly client: pg.Client;
  readonly manifests: ManifestBook;
  readonly book: RelationBook;
  readonly written: WrittenStructures;
  readonly snapshots: LoadSnapshots;
  readonly queue: BoundedQueue<LoadItem>;
  readonly loaded: LoadedTables;
  readonly late: LateLoads;
  /** Topics of the tables whose changes are written. */
  readonly captured: Set<string>;
  readonly newTables: NewTables;
  /** Where partitioned tables are captured as one; else null. */
  readonly partitions: PartitionBook | null;
  /** Those that are still being made when the first load begins. */
  readonly tableTopics: TableTopics;
}

/** The loads of one attempt: the first one, then those that come while the stream goes on. */
export class ProducerLoads {
  readonly #parts: ProducerParts;
  readonly #tools: LoadTools;

  constructor(parts: ProducerParts, tools: LoadTools) {
    this.#parts = parts;
    this.#tools = tools;
  }

  /** The initial load, or what an earlier life left of it. */
  async first(born: BornSlot | null, unfinished: UnfinishedLoad, signal: AbortSignal): Promise<void> {
    const { snapshots, manifests } = this.#tools;
    const first = born === null ? null : await snapshots.ofBirth(born);
    const isBaseline = this.#parts.config.source.isBaseline === true;
    const options = { ...this.#loaderOptions(signal), isBaseline };
    await loadTables(options, unfinished, manifests.load, first);
  }

  #loaderOptions(signal: AbortSignal): LoaderOptions {
    const { config, status, logger, clock } = this.#parts;
    const { client, book, late } = this.#tools;
    return {
      ...this.#tools,
      connect: () => this.#parts.connect(READER_SETTINGS),
      onResume: (figures) => Object.assign(status.load, figures),
      book: {
        database: book.database,
        capture: async (structures, orderOf) => {
          const captured = await book.capture(structures, orderOf);
          for (const { structure, source } of captured) late.noteFile(structure.topic, source?.fileNode ?? null);
          return captured;
        },
      },
      refresh: (tables) => this.#refresh(client, tables),
      publish: (tables) => addMissing(client, config.source.publication, tables),
      now: () => currentLsn(client),
      schemasTopic: schemasTopic(config.name),
      workers: config.source.snapshotWorkers,
      partBytes: config.epoch.partBytes / LOAD_PARTS,
      partitionOf: keyPartitioner(config.kafka.partitions ?? 1),
      isBaseline: false,
      logger,
      clock,
      signal,
    };
  }

  /** As the source's catalog has them now; those that are gone are left out. */
  async #refresh(client: pg.Client, tables: readonly TableName[]): Promise<TableStructure[]> {
    const wanted = new Set(tables.map(tableKey));
    const found = await findTables(this.#parts.config, client, (table) => wanted.has(tableKey(table)));
    await this.#parts.ensureTopics(found.filter(({ topic }) => !this.#tools.tableTopics.has(topic)));
    return found;
  }

  /** Loads while the stream goes on, until aborted; first what an earlier life announced and did not end. */
  serve(open: UnfinishedLoad | null, signal: AbortSignal): Promise<void> {
    const { config, snapshots: requests, failpoints, logger } = this.#parts;
    const { client, late, manifests, captured, newTables, partitions } = this.#tools;
    return serveLateLoads(
      {
        late,
        manifests,
        requests,
        choose: () => chooseTables(this.#parts, client, ({ topic }) => captured.has(topic)),
        newTables,
        changed: () => partitions?.changed ?? new Map(),
        schemasTopic: schemasTopic(config.name),
        goOn: open === null ? null : () => this.#goOnLate(open, signal),
        load: (tables) => this.#loadLate(tables, signal),
        failpoints,
        logger,
      },
      signal,
    );
  }

  async #goOnLate(open: UnfinishedLoad, signal: AbortSignal): Promise<void> {
    const { late, partitions } = this.#tools;
    const { begun, fresh, gone = [] } = open;
    await partitions?.settle(fresh);
    late.noteOpen(
      [...fresh, ...gone].map(({ topic }) => topic),
      true,
    );
    if (begun !== null)
      late.noteSnapshot(
        begun.tables.map(({ structure }) => structure.topic),
        begun.snapshot,
      );
    await this.#loadWithKin(open, null, signal);
  }

  /** What they were called before, where they are captured under another name. */
  async #noteRenamed(tables: readonly TableStructure[]): Promise<void> {
    const { client, late, written } = this.#tools;
    const oids = await readTableOids(client, tables);
    const names = tables.flatMap((table): [string, TableName][] => {
      const before = written.findBefore(oids.get(tableKey(table)) ?? 0, table.topic);
      return before === null ? [] : [[tableKey(table), { schema: before.schema, table: before.table }]];
    });
    late.noteRenamed(new Map(names));
  }

  /** The structures are read after the snapshot was taken: a slot waits for running transactions, which may alter tables. */
  async #loadLate(tables: readonly TableStructure[], signal: AbortSignal): Promise<void> {
    const { client, snapshots, loaded, book, captured, partitions, written } = this.#tools;
    await partitions?.settle(tables);
    // Readers that know no manifests have rows of an earlier snapshot.
    for (const { topic } of tables) if (captured.has(topic)) loaded.noteRows(topic, 0, 1);
    // Every change from the snapshot on must be captured, so the table is before there is one.
    for (const table of tables) if (!captured.has(table.topic)) await book.add(table);
    for (const { topic } of tables) captured.add(topic);
    const snapshot = await snapshots.take(signal);
    if (snapshot === null) return;
    const fresh = await this.#refresh(client, tables);
    const there = new Set(fresh.map(tableKey));
    const gone = tables.filter((table) => !there.has(tableKey(table)));
    await this.#loadWithKin({ fresh, begun: null, gone }, snapshot, signal);
    // One that is made again under the name is a new one, where the stream never had it.
    for (const { topic } of gone) if (!written.hasTopic(topic)) captured.delete(topic);
  }

  async #loadWithKin(open: UnfinishedLoad, snapshot: LoadSnapshot | null, signal: AbortSignal): Promise<void> {
    const { client, late, manifests } = this.#tools;
    const fresh = await this.#withKin(open.fresh);
    late.noteBounds(await readPartitionBounds(client, fresh));
    await this.#noteRenamed(fresh);
    const options = this.#loaderOptions(signal);
    const refresh = async (tables: readonly TableName[]): Promise<TableStructure[]> =>
      this.#withKin(await this.#refresh(client, tables));
    await loadTables({ ...options, refresh }, { ...open, fresh }, manifests.load, snapshot);
  }

  /**
   * Columns of kin change together, at a target too. So where the catalog has others than the stream has reached, all of them are loaded, and
   * the target alters them while none has rows.
   */
  async #withKin(tables: readonly TableStructure[]): Promise<TableStructure[]> {
    const { client, captured, written } = this.#tools;
    const kin = await readKin(client, tables);
    if (kin.size === 0) return [...tables];
    const others = new Set([...kin.values()].flat().map(tableKey));
    const chosen = await chooseTables(
      this.#parts,
      client,
      (table) => captured.has(table.topic) && others.has(tableKey(table)),
    );
    const ahead = new Set(
      chosen
        .filter((table) => {
          const known = written.currentOf(table.topic)?.structure ?? table;
          return !isDeepStrictEqual(columnsOf(known), columnsOf(table));
        })
        .map(tableKey),
    );
    const wanted = new Set(
      tables.flatMap((table) => {
        const family = (kin.get(tableKey(table)) ?? []).map(tableKey);
        return [tableKey(table), ...family].some((name) => ahead.has(name)) ? family : [];
      }),
    );
    const added = chosen.filter(
      (table) => wanted.has(tableKey(table)) && !tables.some(({ topic }) => topic === table.topic),
    );
    if (added.length > 0)
      this.#parts.logger.info(
        { tables: added.map(formatTable) },
        'tables whose columns changed with theirs are loaded too',
      );
    return [...tables, ...added];
  }
}

/** What a target alters with the columns of kin, in any order. */
function columnsOf({ columns }: TableStructure): ReadonlyMap<string, unknown> {
  return new Map(columns.map(({ name, type, generation }) => [name, [type, generation]]));
}

/** Looks for tables that came later; `captured`: topics of those that are captured. */
export function watchNewTables(
  parts: ProducerParts,
  client: pg.Client,
  captured: ReadonlySet<string>,
  written: WrittenStructures,
): NewTables {
  const { config, status, logger, failpoints, clock } = parts;
  return new NewTables({
    client,
    publication: config.source.publication,
    readChosen: async () => {
      const chosen = await readChosenTables(client, config);
      const fresh = chosen.filter(({ topic }) => !captured.has(topic));
      return [...chosen.filter(({ topic }) => captured.has(topic)), ...(await takeTables(parts, client, fresh))];
    },
    isCaptured: ({ topic }) => captured.has(topic),
    nameOf: (oid) => written.findByOid(oid)?.structure ?? null,
    oidOf: ({ topic }) => written.currentOf(topic)?.source?.oid ?? null,
    writtenOf: (oid) => written.findByOid(oid)?.structure ?? null,
    status,
    logger,
    failpoints,
    clock,
  });
}
