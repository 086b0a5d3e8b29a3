import { currentRecord, findStructures, parseCurrent, structureId, type CurrentShape } from '#core/structure-record.ts';
import { partitionsIn } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import { currentShape, type CapturedTable, type KnownTable } from './captured-table.ts';

interface TopicRecord {
  readonly key: string;
  readonly value: string;
}

/** What the topic of structures holds: every structure once, and for each table which one its newest events have. */
export class WrittenStructures {
  readonly #structures = new Map<string, TableStructure>();
  readonly #current = new Map<string, CurrentShape>();
  /** Records of topics that had none: the stream's, which may wait for a load's plan that names the topic. */
  readonly #opening = new Map<string, readonly TopicRecord[]>();
  /** By topic, the table that `add` was last given, as long as nothing else is noted of the topic. */
  readonly #added = new Map<string, CapturedTable>();

  /** `records`: values of the topic, each key's latest. */
  constructor(records: Iterable<Buffer>) {
    const values = [...records];
    for (const record of findStructures(values)) this.#structures.set(structureId(record), record.structure);
    for (const current of values.map(parseCurrent)) if (current !== null) this.#current.set(current.topic, current);
  }

  /** Topics whose events' newest structure is known. */
  get topics(): ReadonlySet<string> {
    return new Set(this.#current.keys());
  }

  /** The structure of a topic's newest events, with the catalog's side of it; null where none is known. */
  currentOf(topic: string): KnownTable | null {
    const shape = this.#current.get(topic);
    if (shape === undefined) return null;
    const structure = this.#structures.get(structureId({ version: shape.version, structure: { topic } }));
    return structure === undefined ? null : { structure, source: shape };
  }

  /** The table that had this number in the source's catalog when its newest events came. */
  findByOid(oid: number): KnownTable | null {
    const shape = [...this.#current.values()].find((one) => one.oid === oid);
    return shape === undefined ? null : this.currentOf(shape.topic);
  }

  /** The version of that structure. */
  versionOf(topic: string): number | null {
    return this.#current.get(topic)?.version ?? null;
  }

  /** Kafka has, or is about to get, all that an event of this very table needs. */
  isAdded(table: CapturedTable): boolean {
    return this.#added.get(table.structure.topic) === table;
  }

  /** The records that are still to be written before an event of this table; none where Kafka has them. */
  add(table: CapturedTable): TopicRecord[] {
    this.#added.set(table.structure.topic, table);
    const records: TopicRecord[] = [];
    const id = structureId(table.record);
    if (!this.#structures.has(id)) records.push(table.record);
    this.#structures.set(id, table.structure);
    const current = currentShape(table);
    const known = this.#current.get(table.structure.topic);
    if (current === null || (known?.version === current.version && known.fileNode === current.fileNode)) return records;
    this.#current.set(current.topic, current);
    const all = [...records, currentRecord(current)];
    if (known === undefined) this.#opening.set(current.topic, all);
    return all;
  }

  /**
   * The same for a load's plan, whose rows may have a later structure than the stream's next events: only the first one is current. A plan
   * that comes to Kafka before the topic's first events says it for them, since a topic without is not captured by the next life.
   */
  addLoaded(table: CapturedTable): TopicRecord[] {
    const { topic } = table.structure;
    if (this.versionOf(topic) === null) this.add(table);
    this.#structures.set(structureId(table.record), table.structure);
    const opening = this.#opening.get(topic) ?? [];
    this.#opening.delete(topic);
    return [table.record, ...opening.filter(({ key }) => key !== table.record.key), ...this.#notePartitions(table)];
  }

  /** A partitioned table's partitions are from now on those that the load found: the next life looks for others than them. */
  #notePartitions({ structure: { topic }, source }: CapturedTable): TopicRecord[] {
    const known = this.#current.get(topic);
    const fileNode = source?.fileNode ?? null;
    if (known === undefined || fileNode === known.fileNode || partitionsIn(fileNode).size === 0) return [];
    const current = { ...known, fileNode };
    this.#current.set(topic, current);
    return [currentRecord(current)];
  }
}
