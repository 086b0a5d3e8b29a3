import type { LateTable as StoredTable } from '#adapters/postgres/target/late-state.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import type { LateTable } from '#core/target-schema.ts';
import type { LoadPlace } from './load-place.ts';
import type { RowPlace, TargetSession } from './target.ts';

export interface ShadowPlaceOptions {
  /** Whether tables that are not in the target are made there. */
  readonly makesTables: boolean;
  /** What would act on rows of these tables goes. */
  readonly prepare: (tables: readonly TableStructure[]) => Promise<void>;
  /** Adds labels that the source's enums have, in a session of its own. */
  readonly addLabels: (table: TableStructure, changes: readonly ColumnChange[]) => Promise<void>;
  readonly failpoints: Failpoints;
}

/** Tables beside the target's own, in Restage's schema: nobody sees a late load's rows before their place in the stream (invariant 4). */
export class ShadowPlace implements LoadPlace {
  readonly #options: ShadowPlaceOptions;

  constructor(options: ShadowPlaceOptions) {
    this.#options = options;
  }

  async plan(session: TargetSession, manifest: Manifest, planned: readonly TableStructure[]): Promise<void> {
    const { prepare, addLabels, failpoints } = this.#options;
    const { load } = manifest;
    await this.#addNew(session, manifest, planned);
    await prepare(planned);
    const known = await lateTables(session);
    const fresh = planned.filter(({ topic }) => (known.get(topic)?.load ?? 0) < load);
    for (const table of fresh) await addLabels(table, enumColumns(table));
    await session.transaction.begin('UPDATE');
    for (const structure of fresh) {
      await session.shadows.make(structure);
      await session.late.plan(structure.topic, load, structureVersion(structure));
    }
    failpoints.hit('sink.shadow.before');
    await session.transaction.commit();
    failpoints.hit('sink.shadow.after');
  }

  /** Those of which nothing was ever loaded here. */
  async #addNew(session: TargetSession, { tables = [] }: Manifest, planned: readonly TableStructure[]): Promise<void> {
    const { makesTables, failpoints } = this.#options;
    const loads = await session.loads.tables();
    const begun = await lateTables(session);
    const added = planned.filter(({ topic }) => !loads.has(topic) && !begun.has(topic));
    if (added.length === 0) return;
    const byTopic = new Map(tables.map((table) => [table.topic, table]));
    const list = added.map((structure): LateTable => {
      const { bounds, renamedFrom } = byTopic.get(structure.topic) ?? {};
      return {
        structure,
        ...(bounds === undefined ? {} : { bounds }),
        ...(renamedFrom === undefined ? {} : { renamedFrom }),
      };
    });
    await session.transaction.begin('UPDATE');
    try {
      await session.catalog.add(list, makesTables);
      failpoints.hit('sink.newTable.before');
      await session.transaction.commit();
      failpoints.hit('sink.newTable.after');
    } catch (error) {
      await session.transaction.rollback().catch(() => undefined);
      throw error;
    }
  }

  loads(session: TargetSession): Promise<ReadonlyMap<string, { readonly load: number }>> {
    return lateTables(session);
  }

  placeOf(structure: TableStructure): RowPlace {
    return { kind: 'shadow', structure };
  }

  async endTables(session: TargetSession, topics: readonly string[], snapshot: Lsn): Promise<void> {
    for (const topic of topics) await session.late.end(topic, snapshot);
  }
}

async function lateTables({ late }: TargetSession): Promise<ReadonlyMap<string, StoredTable>> {
  return (await late.read())?.tables ?? new Map<string, StoredTable>();
}

function enumColumns({ columns }: TableStructure): ColumnChange[] {
  return columns
    .filter(({ enumLabels }) => enumLabels !== null)
    .map(({ name }): ColumnChange => ({ kind: 'retype', column: name }));
}
