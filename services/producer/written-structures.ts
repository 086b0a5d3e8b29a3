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
  /** The last one of those that a table has had. */
  readonly #topicByOid = new Map<number, string>();
  /** Records of topics that had none: the stream's, which may wait for a load's plan that names the topic. */
  readonly #opening = new Map<string, readonly TopicRecord[]>();
  /** By topic, the table that `add` was last given, as long as nothing else is noted of the topic. */
  readonly #added = new Map<string, CapturedTable>();

  /** `records`: values of the topic, each key's latest. */
  constructor(records: Iterable<Buffer>) {
    const values = [...records];
    for (const record of findStructures(values)) this.#structures.set(structureId(record), record.structure);
    for (const current of values.map(parseCurrent)) if (current !== null) this.#setCurrent(current);
  }

  /** Topics whose events' newest structure is known. */
  get topics(): ReadonlySet<string> {
    return new Set(this.#current.keys());
  }

  /** Whether the structure of the topic's newest events is known. */
  hasTopic(topic: string): boolean {
    return this.#current.has(topic);
  }

  /** The structure of a topic's newest events, with the catalog's side of it; null where none is known. */
  currentOf(topic: string): KnownTable | null {
    const shape = this.#current.get(topic);
    if (shape === undefined) return null;
    const structure = this.#structures.get(structureId({ version: shape.version, structure: { topic } }));
    return structure === undefined ? null : { structure, source: shape };
  }

  /** The structure of a topic's newest events, or of those to come where it has none yet; null where none was announced. */
  newestOf(topic: string): TableStructure | null {
    const announced = [...this.#structures.values()].findLast((structure) => structure.topic === topic) ?? null;
    return this.currentOf(topic)?.structure ?? announced;
  }

  /** The table that had this number in the source's catalog when its newest events came, by the last name of those that it had. */
  findByOid(oid: number): KnownTable | null {
    const topic = this.#topicByOid.get(oid);
    return topic === undefined ? null : this.currentOf(topic);
  }

  /** The same table under the name that it had before this topic's. */
  findBefore(oid: number, topic: string): TableStructure | null {
    const shape = [...this.#current.values()].findLast((one) => one.oid === oid && one.topic !== topic);
    return shape === undefined ? null : (this.currentOf(shape.topic)?.structure ?? null);
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
    if (current === null || (isSame(known, current) && this.#isNamed(current))) return records;
    this.#setCurrent(current);
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
    const known = this.#current.get(topic);
    // Another table has the topic's name now, or this one again: what comes of it has the load's structure or a later one.
    const isOther =
      known !== undefined && table.source !== null && (table.source.oid !== known.oid || !this.#isNamed(known));
    if (known === undefined || isOther) {
      const records = this.add(table);
      if (isOther) return records.some(({ key }) => key === table.record.key) ? records : [table.record, ...records];
    }
    this.#structures.set(structureId(table.record), table.structure);
    const opening = this.#opening.get(topic) ?? [];
    this.#opening.delete(topic);
    // The plan's own is the last of its topic: readers take its rows to be of that.
    return [...opening.filter(({ key }) => key !== table.record.key), table.record, ...this.#notePartitions(table)];
  }

  /** Whether the table has this topic's name still. */
  #isNamed({ oid, topic }: CurrentShape): boolean {
    return this.#topicByOid.get(oid) === topic;
  }

  /** Behind all others, as Kafka's topic has it. */
  #setCurrent(current: CurrentShape): void {
    this.#current.delete(current.topic);
    this.#current.set(current.topic, current);
    this.#topicByOid.set(current.oid, current.topic);
  }

  /** A partitioned table's partitions are from now on those that the load found: the next life looks for others than them. */
  #notePartitions({ structure: { topic }, source }: CapturedTable): TopicRecord[] {
    const known = this.#current.get(topic);
    const fileNode = source?.fileNode ?? null;
    if (known === undefined || fileNode === known.fileNode || partitionsIn(fileNode).size === 0) return [];
    const current = { ...known, fileNode };
    this.#setCurrent(current);
    return [currentRecord(current)];
  }
}

function isSame(known: CurrentShape | undefined, current: CurrentShape): boolean {
  return (
    known?.version === current.version &&
    known.fileNode === current.fileNode &&
    known.attributes === current.attributes &&
    known.oid === current.oid
  );
}
