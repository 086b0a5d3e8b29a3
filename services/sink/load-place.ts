import type { Failpoints } from '#core/failpoints.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { TableStructure } from '#core/structure.ts';
import type { ApplyMode } from './apply-mode.ts';
import type { StructureBook } from './structure-book.ts';
import type { RowPlace, TargetSession } from './target.ts';

/** Where a load's rows go, and what of them is there already. */
export interface LoadPlace {
  /** Tables of a plan start empty there: what an earlier load brought of them is removed with its ledger, in one transaction. */
  plan(session: TargetSession, manifest: Manifest, tables: readonly TableStructure[]): Promise<void>;
  /** By topic, the load that a table's rows are taken from. */
  loads(session: TargetSession): Promise<ReadonlyMap<string, { readonly load: number }>>;
  /** What is filled. */
  placeOf(structure: TableStructure): RowPlace;
  /** Notes the tables' snapshot; in the caller's transaction. */
  endTables(session: TargetSession, topics: readonly string[], snapshot: Lsn): Promise<void>;
}

export interface TablesPlaceOptions {
  readonly structures: StructureBook;
  readonly applyMode: ApplyMode;
  readonly failpoints: Failpoints;
}

/** The target's own tables: of the initial load. */
export class TablesPlace implements LoadPlace {
  readonly #options: TablesPlaceOptions;

  constructor(options: TablesPlaceOptions) {
    this.#options = options;
  }

  async plan(session: TargetSession, manifest: Manifest, planned: readonly TableStructure[]): Promise<void> {
    const { structures, applyMode, failpoints } = this.#options;
    const byTopic = new Map(planned.map((structure) => [structure.topic, structure]));
    const structureOf = (topic: string): TableStructure => byTopic.get(topic) ?? structures.newest(topic);
    const tables = manifest.tables ?? [];
    const loads = await session.loads.tables();
    await session.catalog.require(planned);
    await applyMode.prepare(session, planned, false);
    const fresh = tables.filter((table) => (loads.get(table.topic)?.load ?? 0) < manifest.load);
    const retaken = fresh.filter(({ topic }) => loads.has(topic));
    await session.transaction.begin('UPDATE');
    for (const { topic } of retaken) await session.rows.empty(structureOf(topic));
    if (retaken.length > 0)
      await session.loads.noteRetake(
        manifest.load,
        retaken.map(({ topic }) => topic),
      );
    await session.loads.plan(
      fresh.map(({ topic }) => topic),
      manifest.load,
    );
    failpoints.hit('sink.plan.before');
    await session.transaction.commit();
    failpoints.hit('sink.plan.after');
  }

  loads(session: TargetSession): Promise<ReadonlyMap<string, { readonly load: number }>> {
    return session.loads.tables();
  }

  placeOf(structure: TableStructure): RowPlace {
    return { kind: 'table', structure };
  }

  endTables(session: TargetSession, topics: readonly string[], snapshot: Lsn): Promise<void> {
    return session.loads.end(topics, snapshot);
  }
}
