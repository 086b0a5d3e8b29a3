import type pg from 'pg';
import { addTables } from '#adapters/postgres/target/add-tables.ts';
import type { LateState } from '#adapters/postgres/target/late-state.ts';
import { makeShadow, shadowOf } from '#adapters/postgres/target/shadow-table.ts';
import type { TargetState } from '#adapters/postgres/target/target-state.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import type { LateTable } from '#core/target-schema.ts';
import type { LoadPlace } from './load-place.ts';

export interface ShadowPlaceOptions {
  readonly pipeline: string;
  readonly state: TargetState;
  readonly late: LateState;
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

  async plan(client: pg.ClientBase, manifest: Manifest, planned: readonly TableStructure[]): Promise<void> {
    const { pipeline, state, late, prepare, addLabels, failpoints } = this.#options;
    const { load } = manifest;
    await this.#addNew(client, manifest, planned);
    await prepare(planned);
    const known = await late.tables(client);
    const fresh = planned.filter(({ topic }) => (known.get(topic)?.load ?? 0) < load);
    for (const table of fresh) await addLabels(table, enumColumns(table));
    await client.query('BEGIN');
    await state.guard(client, 'UPDATE');
    for (const structure of fresh) {
      await makeShadow(client, pipeline, structure);
      await late.planTable(client, structure.topic, load, structureVersion(structure));
    }
    failpoints.hit('sink.shadow.before');
    await client.query('COMMIT');
    failpoints.hit('sink.shadow.after');
  }

  /** Those of which nothing was ever loaded here. */
  async #addNew(client: pg.ClientBase, { tables = [] }: Manifest, planned: readonly TableStructure[]): Promise<void> {
    const { state, late, makesTables, failpoints } = this.#options;
    const loads = await state.tableLoads(client);
    const begun = await late.tables(client);
    const added = planned.filter(({ topic }) => !loads.has(topic) && !begun.has(topic));
    if (added.length === 0) return;
    const boundsOf = new Map(tables.map(({ topic, bounds }) => [topic, bounds]));
    const list = added.map((structure): LateTable => {
      const bounds = boundsOf.get(structure.topic);
      return bounds === undefined ? { structure } : { structure, bounds };
    });
    await client.query('BEGIN');
    try {
      await state.guard(client, 'UPDATE');
      await addTables(client, list, makesTables);
      failpoints.hit('sink.newTable.before');
      await client.query('COMMIT');
      failpoints.hit('sink.newTable.after');
    } catch (error) {
      await client.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }

  async loadOf(client: pg.ClientBase, topic: string): Promise<number | null> {
    return (await this.#options.late.tables(client)).get(topic)?.load ?? null;
  }

  sqlOf(structure: TableStructure): string {
    return shadowOf(this.#options.pipeline, structure.topic);
  }

  endTable(client: pg.ClientBase, topic: string, snapshot: Lsn): Promise<void> {
    return this.#options.late.endTable(client, topic, snapshot);
  }
}

function enumColumns({ columns }: TableStructure): ColumnChange[] {
  return columns
    .filter(({ enumLabels }) => enumLabels !== null)
    .map(({ name }): ColumnChange => ({ kind: 'retype', column: name }));
}
