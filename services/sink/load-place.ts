import type pg from 'pg';
import { emptyTable } from '#adapters/postgres/target/empty-table.ts';
import { readTargetTable } from '#adapters/postgres/target/target-table.ts';
import type { TargetState } from '#adapters/postgres/target/target-state.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { TableStructure } from '#core/structure.ts';
import { quoteTable } from '#core/table-name.ts';
import type { ApplyMode } from './apply-mode.ts';
import type { StructureBook } from './structure-book.ts';

/** Where a load's rows go, and what of them is there already. */
export interface LoadPlace {
  /** Tables of a plan start empty there: what an earlier load brought of them is removed with its ledger, in one transaction. */
  plan(client: pg.ClientBase, manifest: Manifest, tables: readonly TableStructure[]): Promise<void>;
  /** The load that a table's rows are taken from; null for none. */
  loadOf(client: pg.ClientBase, topic: string): Promise<number | null>;
  /** What COPY fills, in SQL. */
  sqlOf(structure: TableStructure): string;
  /** Notes a table's snapshot; in the caller's transaction. */
  endTable(client: pg.ClientBase, topic: string, snapshot: Lsn): Promise<void>;
}

export interface TablesPlaceOptions {
  readonly state: TargetState;
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

  async plan(client: pg.ClientBase, manifest: Manifest, planned: readonly TableStructure[]): Promise<void> {
    const { state, structures, applyMode, failpoints } = this.#options;
    const byTopic = new Map(planned.map((structure) => [structure.topic, structure]));
    const structureOf = (topic: string): TableStructure => byTopic.get(topic) ?? structures.newest(topic);
    const tables = manifest.tables ?? [];
    const loads = await state.tableLoads(client);
    for (const structure of planned) await readTargetTable(client, structure);
    await applyMode.prepare(client, planned, false);
    const fresh = tables.filter((table) => (loads.get(table.topic)?.load ?? 0) < manifest.load);
    const retaken = fresh.filter(({ topic }) => loads.has(topic));
    await client.query('BEGIN');
    await state.guard(client, 'UPDATE');
    for (const { topic } of retaken) await emptyTable(client, structureOf(topic));
    if (retaken.length > 0)
      await state.noteRetake(
        client,
        manifest.load,
        retaken.map(({ topic }) => topic),
      );
    for (const { topic } of fresh) await state.planTable(client, topic, manifest.load);
    failpoints.hit('sink.plan.before');
    await client.query('COMMIT');
    failpoints.hit('sink.plan.after');
  }

  async loadOf(client: pg.ClientBase, topic: string): Promise<number | null> {
    return (await this.#options.state.tableLoads(client)).get(topic)?.load ?? null;
  }

  sqlOf(structure: TableStructure): string {
    return quoteTable(structure);
  }

  endTable(client: pg.ClientBase, topic: string, snapshot: Lsn): Promise<void> {
    return this.#options.state.endTable(client, topic, snapshot);
  }
}
