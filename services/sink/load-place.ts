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
  /** The load that a table's rows are taken from; null for none. */
  loadOf(session: TargetSession, topic: string): Promise<number | null>;
  /** What is filled. */
  placeOf(structure: TableStructure): RowPlace;
  /** Notes a table's snapshot; in the caller's transaction. */
  endTable(session: TargetSession, topic: string, snapshot: Lsn): Promise<void>;
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
    for (const structure of planned) await session.catalog.table(structure);
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
    for (const { topic } of fresh) await session.loads.plan(topic, manifest.load);
    failpoints.hit('sink.plan.before');
    await session.transaction.commit();
    failpoints.hit('sink.plan.after');
  }

  async loadOf(session: TargetSession, topic: string): Promise<number | null> {
    return (await session.loads.tables()).get(topic)?.load ?? null;
  }

  placeOf(structure: TableStructure): RowPlace {
    return { kind: 'table', structure };
  }

  endTable(session: TargetSession, topic: string, snapshot: Lsn): Promise<void> {
    return session.loads.end(topic, snapshot);
  }
}
