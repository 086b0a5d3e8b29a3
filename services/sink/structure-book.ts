import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { Manifest, ManifestRange } from '#core/manifest.ts';
import type { KafkaRecord } from '#core/record.ts';
import { findStructures, parseStructureRecord, structureId } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey } from '#core/table-name.ts';
import type { TargetCatalog } from './target.ts';

/** Structures by topic and version, from the schemas topic and the manifests; and the target's tables that they fit. */
export class StructureBook {
  readonly #reader: EpochReader;
  readonly #schemasTopic: string;
  readonly #structures = new Map<string, TableStructure>();
  readonly #newest = new Map<string, TableStructure>();
  /** By topic: the name, as tableKey, that its table had before. */
  readonly #earlier = new Map<string, string>();
  readonly #tables = new Map<string, TargetTable>();

  constructor(reader: EpochReader, schemasTopic: string, records: Iterable<Buffer>) {
    this.#reader = reader;
    this.#schemasTopic = schemasTopic;
    for (const record of findStructures(records)) this.#add(record);
  }

  /** Takes in the structures that a manifest brings. */
  async learn(manifest: Manifest, signal: AbortSignal): Promise<TableStructure[]> {
    const learnt: ReturnType<typeof findStructures> = [];
    for (const range of manifest.ranges) {
      if (range.topic !== this.#schemasTopic) continue;
      for await (const records of this.#reader.read(range, signal)) {
        for (const record of records) learnt.push(...readStructure(record, range));
      }
    }
    for (const structure of learnt) this.#add(structure);
    return learnt.map(({ structure }) => structure);
  }

  /** The structures of a plan's tables, in its order. The topic of structures may hold later ones than the plan's by now. */
  async planned(plan: Manifest, signal: AbortSignal): Promise<TableStructure[]> {
    const own = new Map((await this.learn(plan, signal)).map((structure) => [structure.topic, structure]));
    if (signal.aborted) return [];
    for (const { topic, renamedFrom } of plan.tables ?? [])
      if (renamedFrom !== undefined) this.#earlier.set(topic, tableKey(renamedFrom));
    return (plan.tables ?? []).map(({ topic, version }) => {
      const named =
        version === undefined ? undefined : this.#structures.get(structureId({ version, structure: { topic } }));
      return named ?? own.get(topic) ?? this.newest(topic);
    });
  }

  /** The ranges of a manifest that hold events. */
  eventRanges(manifest: Manifest): ManifestRange[] {
    return manifest.ranges.filter((range) => range.topic !== this.#schemasTopic);
  }

  /** @throws RestageError record_invalid when no structure of this topic and version was announced. */
  structure(topic: string, version: number): TableStructure {
    const structure = this.#structures.get(structureId({ version, structure: { topic } }));
    if (structure !== undefined) return structure;
    throw new RestageError('record_invalid', `an event's structure ${version} was never announced`, {
      where: `topic ${topic}`,
    });
  }

  /** Every structure that was announced of a topic, and of its table under the name before. */
  all(topic: string): TableStructure[] {
    const earlier = this.#earlier.get(topic);
    return [...this.#structures.values()].filter(
      (structure) => structure.topic === topic || tableKey(structure) === earlier,
    );
  }

  newest(topic: string): TableStructure {
    const structure = this.#newest.get(topic);
    if (structure !== undefined) return structure;
    throw new RestageError('record_invalid', 'no structure of this topic was ever announced', {
      where: `topic ${topic}`,
    });
  }

  /** The target's table for a structure, read from its catalog once. */
  async table(catalog: Pick<TargetCatalog, 'table'>, structure: TableStructure, version: number): Promise<TargetTable> {
    const id = structureId({ version, structure });
    const known = this.#tables.get(id);
    if (known !== undefined) return known;
    const table = await catalog.table(structure);
    this.#tables.set(id, table);
    return table;
  }

  /** The target's table without its columns, whatever they are at this moment: to truncate it. */
  bareTable(catalog: Pick<TargetCatalog, 'table'>, topic: string): Promise<TargetTable> {
    const structure = this.newest(topic);
    return catalog.table({ ...structure, columns: [], identity: { ...structure.identity, columns: [] } });
  }

  /** Reads the target's catalog again from now on: something altered its tables. */
  forgetTables(): void {
    this.#tables.clear();
  }

  #add(record: { readonly version: number; readonly structure: TableStructure }): void {
    this.#structures.set(structureId(record), record.structure);
    this.#newest.set(record.structure.topic, record.structure);
  }
}

/** @throws RestageError record_invalid: a manifest names it, so it has to be a structure. */
function readStructure(record: KafkaRecord, { topic, partition }: ManifestRange): ReturnType<typeof findStructures> {
  try {
    const parsed = record.value === null ? null : parseStructureRecord(record.value);
    return parsed === null ? [] : [parsed];
  } catch (cause) {
    if (!(cause instanceof RestageError)) throw cause;
    throw new RestageError('record_invalid', cause.message, {
      where: `topic ${topic}, partition ${partition}, offset ${record.offset}`,
      cause,
      fix: 'somebody else writes to this topic, or it is damaged',
    });
  }
}
