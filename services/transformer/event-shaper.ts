import type { RuleConfig } from '#core/config.ts';
import type { Row } from '#core/envelope.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import { joinHeaders } from '#core/debezium/record-headers.ts';
import type { ControlEntry, Manifest, ManifestRange } from '#core/manifest.ts';
import { chunkHeaders, encodeHeaders, readStreamHeaders, streamHeaders, type KafkaRecord } from '#core/record.ts';
import { compileTable, type TableRule } from '#core/rules/table-rule.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import { findStructures, parseStructureRecord, structureId, structureRecord } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TopicBatches } from '#core/topic-batches.ts';
import type { DebeziumShaper } from './debezium-shaper.ts';
import { joinEnvelope, splitEnvelope } from './envelope-text.ts';

export interface EventShaperOptions {
  readonly reader: EpochReader;
  readonly rules: readonly RuleConfig[];
  readonly rawSchemasTopic: string;
  readonly shapedPrefix: string;
  readonly shapedSchemasTopic: string;
  /** Ids of the shaped structures that Kafka has. */
  readonly written: Set<string>;
  /** null: profile `lossless`. */
  readonly debezium?: DebeziumShaper | null;
}

/** A change of a table's columns, in its place in the stream. */
export type Alteration = Extract<ControlEntry, { kind: 'ddl' }>;

const NO_HEADERS = encodeHeaders([]);

/** Records in, shaped records out: knows every raw structure and the rule that its events go through. */
export class EventShaper {
  readonly #options: EventShaperOptions;
  readonly #rules = new Map<string, TableRule>();
  readonly #newest = new Map<string, { readonly raw: TableStructure; readonly rule: TableRule }>();

  constructor(options: EventShaperOptions, structures: Iterable<Buffer>) {
    this.#options = options;
    for (const record of findStructures(structures)) this.#add(record);
  }

  get structures(): TableStructure[] {
    return [...this.#newest.values()].map(({ raw }) => raw);
  }

  /** Takes in a manifest's structures, and gives their versions by topic. */
  async learn(manifest: Manifest, signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    const learnt = new Map<string, number>();
    for (const range of manifest.ranges) {
      if (range.topic !== this.#options.rawSchemasTopic) continue;
      for await (const records of this.#options.reader.read(range, signal))
        for (const { value } of records) {
          const record = value === null ? null : parseStructureRecord(value);
          if (record !== null) {
            const added = this.#add(record);
            learnt.set(added.topic, added.version);
          }
        }
    }
    await this.prepare();
    return learnt;
  }

  /** Once after the constructor; `learn` does it for what it adds. @throws RestageError registry_unreachable, registry_refused. */
  async prepare(): Promise<void> {
    const { debezium } = this.#options;
    if (debezium === undefined || debezium === null) return;
    for (const rule of this.#rules.values()) await debezium.prepare(rule);
  }

  /** @throws RestageError record_invalid for a topic without structure. */
  shaped(topic: string): TableStructure {
    const known = this.#newest.get(topic);
    if (known === undefined)
      throw new RestageError('record_invalid', 'a manifest names a topic without structure', {
        where: `topic ${topic}`,
      });
    return known.rule.shaped;
  }

  /** The table's shaped structure goes into the transaction that first uses it. */
  introduce(topic: string, version: number, out: TopicBatches): TableRule {
    const rule = this.#rules.get(structureId({ version, structure: { topic } }));
    if (rule === undefined)
      throw new RestageError('record_invalid', `structure ${version} was never announced`, { where: `topic ${topic}` });
    const id = structureId({ version: rule.version, structure: rule.shaped });
    if (this.#options.written.has(id)) return rule;
    this.#options.written.add(id);
    const record = structureRecord(rule.shaped);
    out.append(this.#options.shapedSchemasTopic, record.key, record.value, NO_HEADERS);
    return rule;
  }

  /** What a change of columns is behind the rules; null where they leave nothing of it. */
  shapeAlteration(entry: Alteration, out: TopicBatches): Alteration | null {
    const from = this.introduce(entry.topic, entry.from, out);
    const to = this.introduce(entry.topic, entry.to, out);
    const changes = entry.changes.flatMap((change): ColumnChange[] => {
      const rule = change.kind === 'rename' || change.kind === 'drop' ? from : to;
      const column = rule.nameOf(change.column);
      if (column === null) return [];
      return [
        change.kind === 'rename' ? { ...change, column, to: to.nameOf(change.to) ?? change.to } : { ...change, column },
      ];
    });
    if (changes.length === 0) return null;
    return { ...entry, topic: to.shaped.topic, from: from.version, to: to.version, changes };
  }

  /** A plan names its structure also where Kafka has it: its readers may know later ones. */
  introducePlanned(topic: string, versions: ReadonlyMap<string, number>, out: TopicBatches): void {
    const version = versions.get(topic);
    if (version === undefined) return void this.introduceNewest(topic, out);
    const rule = this.#rules.get(structureId({ version, structure: { topic } }));
    if (rule !== undefined)
      this.#options.written.delete(structureId({ version: rule.version, structure: rule.shaped }));
    this.introduce(topic, version, out);
  }

  introduceNewest(topic: string, out: TopicBatches): TableStructure {
    const known = this.#newest.get(topic);
    if (known === undefined)
      throw new RestageError('record_invalid', 'a plan names a topic without structure', { where: `topic ${topic}` });
    this.introduce(topic, structureRecord(known.raw).version, out);
    return known.rule.shaped;
  }

  /** Shapes one record; returns the ops of the events it gave, a letter each (a tombstone none: it follows its delete). */
  shape(record: KafkaRecord, range: ManifestRange, out: TopicBatches): string {
    if (record.value === null) return '';
    const where = `topic ${range.topic}, partition ${range.partition}, offset ${record.offset}`;
    const headers = readStreamHeaders(record);
    const version = headers?.structure ?? record.headers.get('structure')?.readUInt32BE() ?? -1;
    const rule = this.introduce(range.topic, version, out);
    const shapedHeaders =
      headers === null
        ? this.#chunkHeaders(record, rule, where)
        : streamHeaders({ ...headers, structure: rule.version });
    const key = record.key?.toString('utf8') ?? null;
    const { topic } = rule.shaped;
    const debezium = this.#options.debezium ?? null;
    if (rule.isUnchanged && debezium === null) {
      const value = record.value.toString('utf8');
      out.appendRow(topic, key, value, shapedHeaders);
      const op = value.charAt(value.lastIndexOf('"op":"') + 6);
      if (key !== null && op === 'd') out.append(topic, key, null, shapedHeaders);
      return op;
    }
    const { event, tail } = splitEnvelope(record.value, where);
    const shaped = rule.apply({ ...event, key: key === null ? null : parseKey(key, where) }, where);
    if (debezium !== null) {
      for (const one of shaped)
        for (const made of debezium.shape(rule, one, tail, headers?.position ?? null, where))
          out.append(made.topic, made.key, made.value, joinHeaders(shapedHeaders, made.headers));
      return shaped.map((one) => one.op).join('');
    }
    for (const one of shaped) {
      const shapedKey = one.key === null ? null : writeKey(one.key, rule.shaped.identity.columns, where);
      out.appendRow(topic, shapedKey, joinEnvelope(one, tail), shapedHeaders);
      if (one.op === 'd' && shapedKey !== null) out.append(topic, shapedKey, null, shapedHeaders);
    }
    return shaped.map((one) => one.op).join('');
  }

  #chunkHeaders(record: KafkaRecord, rule: TableRule, where: string): Buffer {
    const chunk = record.headers.get('chunk');
    const row = record.headers.get('row');
    if (chunk?.length !== 4 || row?.length !== 8)
      throw new RestageError('record_invalid', 'a record lacks the headers of an event', { where });
    return chunkHeaders(chunk.readUInt32BE(), Number(row.readBigUInt64BE()), 0, rule.version);
  }

  #add({ version, structure }: { readonly version: number; readonly structure: TableStructure }): {
    readonly topic: string;
    readonly version: number;
  } {
    const rule = compileTable(structure, this.#options.rules, this.#options.shapedPrefix);
    this.#rules.set(structureId({ version, structure }), rule);
    this.#newest.set(structure.topic, { raw: structure, rule });
    return { topic: structure.topic, version };
  }
}

/** In the identity's order, whatever the columns are called: equal rows have equal keys. */
function writeKey(key: Row, columns: readonly string[], where: string): string {
  const cells = columns.map((column) => {
    if (!Object.hasOwn(key, column))
      throw new RestageError('record_invalid', `an event's key lacks the identity's column ${column}`, { where });
    return `${JSON.stringify(column)}:${JSON.stringify(key[column])}`;
  });
  return `{${cells.join(',')}}`;
}

function parseKey(key: string, where: string): Row {
  try {
    return JSON.parse(key) as Row;
  } catch (cause) {
    throw new RestageError('record_invalid', "an event's key is not JSON", { where, cause });
  }
}
