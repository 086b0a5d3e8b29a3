import {
  heldSlots,
  heldTableSlots,
  neededSlots,
  neededTableSlots,
  type KeyLink,
  type SlotTable,
} from '#core/key-slots.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import type { Cut } from './epoch-apply.ts';
import type { Item, Unit } from './part-units.ts';
import type { TargetCatalog } from './target.ts';

/** What events make others wait at, and what they wait at themselves (core/key-slots.ts), by the target's tables. */
export class SlotBook {
  readonly #catalog: Pick<TargetCatalog, 'table'>;
  readonly #tables = new Map<string, SlotTable>();

  constructor(catalog: Pick<TargetCatalog, 'table'>) {
    this.#catalog = catalog;
  }

  /** Of every event of the units. */
  async neededBy(units: readonly Unit[], links: readonly KeyLink[]): Promise<string[]> {
    const slots = new Set<string>();
    for (const { items, cuts } of units)
      for (const item of [...items, ...cuts]) for (const slot of await this.needed(item, links)) slots.add(slot);
    return [...slots];
  }

  async needed(item: Item | Cut, links: readonly KeyLink[]): Promise<string[]> {
    switch (item.kind) {
      case 'change':
        return neededSlots(item.change, await this.tableOf(item.group.structure), links);
      case 'unusable':
        return [];
      case 'truncate':
      case 'alter':
        return (await this.#tablesOf(item)).flatMap((table) => neededTableSlots(table, links));
    }
  }

  async held(item: Item | Cut, links: readonly KeyLink[]): Promise<string[]> {
    switch (item.kind) {
      case 'change':
        return heldSlots(item.change, await this.tableOf(item.group.structure), links);
      case 'unusable':
        return heldTableSlots(await this.tableOf(item.record.structure), item.record.key, links);
      case 'truncate':
      case 'alter':
        return (await this.#tablesOf(item)).flatMap((table) => heldTableSlots(table, null, links));
    }
  }

  async tableOf(structure: TableStructure): Promise<SlotTable> {
    const id = `${structure.topic}:${structureVersion(structure)}`;
    const known = this.#tables.get(id);
    if (known !== undefined) return known;
    const { isFull, columns } = structure.identity;
    const isWhole = isFull && columns.length === 0;
    // Columns may be about to be added: only those of the identity matter here.
    const { isTextEqual } = await this.#catalog.table({ ...structure, columns: [] });
    const all = structure.columns.filter(({ generated }) => !generated).map(({ name }) => name);
    const table = {
      schema: structure.schema,
      table: structure.table,
      identity: isWhole ? all : columns,
      isExact: isWhole || isTextEqual,
    };
    this.#tables.set(id, table);
    return table;
  }

  #tablesOf(cut: Cut): Promise<SlotTable[]> {
    const structures = cut.kind === 'alter' ? [cut.to] : cut.tables.map(({ structure }) => structure);
    // Of a TRUNCATE they are bare: any row of them is meant.
    return Promise.all(structures.map((structure) => this.tableOf(structure)));
  }
}
