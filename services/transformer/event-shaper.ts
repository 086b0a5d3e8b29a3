import type { Row } from '#core/envelope.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import { joinHeaders } from '#core/debezium/record-headers.ts';
import type { ControlEntry, Manifest, ManifestRange } from '#core/manifest.ts';
import {
  chunkHeaders,
  encodeHeaders,
  readStreamHeaders,
  streamHeaders,
  type EventHeaders,
  type KafkaRecord,
} from '#core/record.ts';
import type { ModuleDeclaration } from '#core/module/declaration.ts';
import type { Branch } from '#core/rules/branch.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { compileTable, type ShapedEvent, type TableRules } from '#core/rules/table-rules.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import { keyText } from '#core/rules/rows.ts';
import { findStructures, parseStructureRecord, structureId, structureRecord } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import type { RecordSink } from '#core/topic-batches.ts';
import type { DebeziumShaper } from './debezium-shaper.ts';
import { joinEnvelope, splitEnvelope, timeIn } from './envelope-text.ts';
import type { ModuleQueue } from './module-queue.ts';
import type { OutboxWriter } from './outbox-writer.ts';

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
  /** null: the output has no module. */
  readonly module?: ModuleQueue | null;
  readonly outbox?: OutboxWriter | null;
}

/** Where an epoch's records go: those that the manifest names, and those beside it. */
export interface EpochRecords {
  readonly data: RecordSink;
  readonly side: RecordSink;
}

export type RecordPlace = Pick<ManifestRange, 'topic' | 'partition'>;

/** A change of a table's columns, in its place in the stream. */
export type Alteration = Extract<ControlEntry, { kind: 'ddl' }>;

type Truncation = Extract<ControlEntry, { kind: 'truncate' }>;

/** Of the record that an event is made from. */
interface RecordFacts {
  /** The envelope's, from its source block on. */
  readonly tail: string;
  /** null for a row of the load. */
  readonly headers: EventHeaders | null;
  readonly headersFor: (branch: Branch) => Buffer;
  readonly where: string;
}

const NO_HEADERS = encodeHeaders([]);

/** Of the structure that a record has. */
export function versionOf(record: KafkaRecord): number {
  return readStreamHeaders(record)?.structure ?? record.headers.get('structure')?.readUInt32BE() ?? -1;
}

function placeOf(topic: string, partition: number, offset: bigint): string {
  return `topic ${topic}, partition ${partition}, offset ${offset}`;
}

/** Records in, shaped records out: knows every raw structure and the rules that its events go through. */
export class EventShaper {
  readonly #options: EventShaperOptions;
  readonly #rules = new Map<string, TableRules>();
  readonly #introduced = new Set<string>();
  readonly #newest = new Map<string, { readonly raw: TableStructure; readonly rules: TableRules }>();

  constructor(options: EventShaperOptions, structures: Iterable<Buffer>) {
    this.#options = options;
    for (const record of findStructures(structures)) this.#add(record);
  }

  /** null: the output has no module. */
  get declaration(): ModuleDeclaration | null {
    return this.#options.module?.declaration ?? null;
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
    for (const { branches } of this.#rules.values()) for (const branch of branches) await debezium.prepare(branch);
  }

  /** What the rules make of a topic's newest structure. @throws RestageError record_invalid for a topic without structure. */
  rulesOf(topic: string): TableRules {
    const known = this.#newest.get(topic);
    if (known === undefined)
      throw new RestageError('record_invalid', 'a manifest names a topic without structure', {
        where: `topic ${topic}`,
      });
    return known.rules;
  }

  /** The table's shaped structures go into the transaction that first uses them. */
  introduce(topic: string, version: number, out: RecordSink): TableRules {
    const rules = this.#rulesAt(topic, version);
    for (const { version: shapedVersion, shaped } of rules.branches) {
      const id = structureId({ version: shapedVersion, structure: shaped });
      if (this.#options.written.has(id)) continue;
      this.#options.written.add(id);
      this.#introduced.add(id);
      const record = structureRecord(shaped);
      out.append(this.#options.shapedSchemasTopic, record.key, record.value, NO_HEADERS);
    }
    return rules;
  }

  #rulesAt(topic: string, version: number): TableRules {
    const rules = this.#rules.get(structureId({ version, structure: { topic } }));
    if (rules !== undefined) return rules;
    throw new RestageError('record_invalid', `structure ${version} was never announced`, { where: `topic ${topic}` });
  }

  /** What a change of columns is behind the rules, for each table that it reaches. @throws RestageError rule_failed. */
  shapeAlteration(entry: Alteration, out: RecordSink): Alteration[] {
    const from = this.introduce(entry.topic, entry.from, out);
    const to = this.introduce(entry.topic, entry.to, out);
    return to.branches.flatMap((after, index) => {
      const before = from.branches[index];
      const changes =
        before === undefined ? [] : entry.changes.flatMap((change) => changeBehind(change, before, after));
      if (before === undefined || changes.length === 0) return [];
      if (this.#isMerged(after))
        throw new RestageError('rule_failed', 'columns changed of a table that is merged with others', {
          where: `${entry.topic}, LSN ${entry.commit}; table ${formatTable(after.shaped)}`,
          fix: 'name the columns to take with columns.keep, and start the output anew under its next version',
        });
      return [{ ...entry, topic: after.shaped.topic, from: before.version, to: after.version, changes }];
    });
  }

  /** Whether rows of other tables too come to the branch's table. */
  #isMerged({ shaped }: Branch): boolean {
    return this.sourcesOf(shaped.topic).length > 1;
  }

  /** The raw topics whose rows come to a shaped one. */
  sourcesOf(shapedTopic: string): string[] {
    return [...this.#newest]
      .filter(([, { rules }]) => rules.branches.some(({ shaped }) => shaped.topic === shapedTopic))
      .map(([topic]) => topic);
  }

  /** Whether rows of two of these topics come to one table, so that their order is that of the source. */
  doMeet(topics: readonly string[]): boolean {
    const seen = new Set<string>();
    for (const topic of topics) {
      for (const { shaped } of this.rulesOf(topic).branches) {
        if (seen.has(shaped.topic)) return true;
        seen.add(shaped.topic);
      }
    }
    return false;
  }

  /** Of a table whose rows come from several, only those of the truncated ones go. @throws RestageError rule_failed where nothing tells them apart. */
  shapeTruncation(entry: Truncation, out: RecordSink): Truncation[] {
    const whole = new Set<string>();
    const parts: Truncation[] = [];
    for (const topic of entry.topics) {
      this.introduceNewest(topic, out);
      for (const branch of this.rulesOf(topic).branches) {
        const { topic: shaped } = branch.shaped;
        if (this.sourcesOf(shaped).every((source) => entry.topics.includes(source))) whole.add(shaped);
        else parts.push({ ...entry, topics: [shaped], only: tellApart(branch, `${topic}, LSN ${entry.commit}`) });
      }
    }
    return whole.size === 0 ? parts : [{ ...entry, topics: [...whole] }, ...parts];
  }

  /** A plan names its structures also where Kafka has them: its readers may know later ones. */
  introducePlanned(topic: string, versions: ReadonlyMap<string, number>, out: RecordSink): void {
    const version = versions.get(topic);
    if (version === undefined) {
      this.introduceNewest(topic, out);
      return;
    }
    const rules = this.#rules.get(structureId({ version, structure: { topic } }));
    for (const { version: shapedVersion, shaped } of rules?.branches ?? [])
      this.#options.written.delete(structureId({ version: shapedVersion, structure: shaped }));
    this.introduce(topic, version, out);
  }

  introduceNewest(topic: string, out: RecordSink): void {
    const known = this.#newest.get(topic);
    if (known === undefined)
      throw new RestageError('record_invalid', 'a plan names a topic without structure', { where: `topic ${topic}` });
    this.introduce(topic, structureRecord(known.raw).version, out);
  }

  /**
   * Shapes one record; returns the ops of the events it gave, a letter each (a tombstone none: it follows its delete). Changes for the module
   * wait for `settle`.
   */
  shape(record: KafkaRecord, range: RecordPlace, { data: out, side }: EpochRecords): string {
    if (record.value === null) return '';
    const where = placeOf(range.topic, range.partition, record.offset);
    const headers = readStreamHeaders(record);
    const rules = this.introduce(range.topic, versionOf(record), out);
    const [only] = rules.branches;
    if (rules.outbox !== null && headers !== null)
      this.#options.outbox?.write(rules.outbox, splitEnvelope(record.value, where).event, side, where);
    if (only === undefined) return '';
    const headersFor = (branch: Branch): Buffer =>
      headers === null
        ? chunkHeadersOf(record, branch, where)
        : streamHeaders({ ...headers, structure: branch.version });
    const key = record.key?.toString('utf8') ?? null;
    const isPlain = (this.#options.debezium ?? null) === null;
    if (rules.branches.length === 1 && only.isUnchanged && isPlain)
      return passOn(only, key, record.value, headersFor(only), out);
    const { event, tail } = splitEnvelope(record.value, where);
    const row = { ...event, key: key === null ? null : parseKey(key, where) };
    const at = { place: where, time: timeIn(tail) };
    const take = (shaped: readonly ShapedEvent[]): string =>
      this.#append(shaped, { tail, headers, headersFor, where }, out);
    if (!rules.isForModule) return take(rules.apply(row, at));
    const { module = null } = this.#options;
    if (module === null) throw new RestageError('bug', 'an output without its module', { where });
    module.add({ source: rules.source, event: row, at }, take, record.value.length);
    return '';
  }

  /** A record's event before any rule, and its table's rules. @throws RestageError record_invalid. */
  read(
    record: KafkaRecord,
    { topic, partition }: RecordPlace,
  ): { readonly rules: TableRules; readonly event: RowEvent } {
    const where = placeOf(topic, partition, record.offset);
    const rules = this.#rulesAt(topic, versionOf(record));
    if (record.value === null) throw new RestageError('record_invalid', 'a record has no value', { where });
    const { event } = splitEnvelope(record.value, where);
    const key = record.key?.toString('utf8') ?? null;
    return { rules, event: { ...event, key: key === null ? null : parseKey(key, where) } };
  }

  /** Structures that were introduced since, in an epoch that is given up, are to be introduced again. */
  forgetIntroduced(): void {
    for (const id of this.#introduced) this.#options.written.delete(id);
    this.#introduced.clear();
  }

  /** The epoch is written. */
  keepIntroduced(): void {
    this.#introduced.clear();
  }

  /** Whether `settle` should be called before the next record. */
  get isFull(): boolean {
    return this.#options.module?.isFull === true;
  }

  /** Appends what waits for the module, as `shape` does; nothing more waits then. @throws RestageError rule_failed. */
  async settle(signal: AbortSignal): Promise<string> {
    return (await this.#options.module?.settle(signal)) ?? '';
  }

  #append(shaped: readonly ShapedEvent[], { tail, headers, headersFor, where }: RecordFacts, out: RecordSink): string {
    const debezium = this.#options.debezium ?? null;
    for (const { branch, event } of shaped) {
      if (debezium === null) append(branch, event, tail, headersFor(branch), out, where);
      else
        for (const made of debezium.shape(branch, event, tail, headers?.position ?? null, where))
          out.append(made.topic, made.key, made.value, joinHeaders(headersFor(branch), made.headers));
    }
    return shaped.map(({ event }) => event.op).join('');
  }

  #add({ version, structure }: { readonly version: number; readonly structure: TableStructure }): {
    readonly topic: string;
    readonly version: number;
  } {
    const rules = compileTable(structure, this.#options.rules, this.#options.shapedPrefix, this.declaration);
    this.#rules.set(structureId({ version, structure }), rules);
    this.#newest.set(structure.topic, { raw: structure, rules });
    return { topic: structure.topic, version };
  }
}

/** Key and value byte for byte. */
function passOn(branch: Branch, key: string | null, bytes: Buffer, headers: Buffer, out: RecordSink): string {
  const value = bytes.toString('utf8');
  const { topic } = branch.shaped;
  out.appendRow(topic, key, value, headers);
  const op = value.charAt(value.lastIndexOf('"op":"') + 6);
  if (key !== null && op === 'd') out.append(topic, key, null, headers);
  return op;
}

function append(
  { shaped }: Branch,
  event: RowEvent,
  tail: string,
  headers: Buffer,
  out: RecordSink,
  where: string,
): void {
  const key = event.key === null ? null : keyText(event.key, shaped.identity.columns);
  if (event.key !== null && key === null)
    throw new RestageError('record_invalid', "an event's key lacks a column of the identity", { where });
  out.appendRow(shaped.topic, key, joinEnvelope(event, tail), headers);
  if (event.op === 'd' && key !== null) out.append(shaped.topic, key, null, headers);
}

/** The constant that a merged table's rows have from one of its sources. */
function tellApart({ constants, shaped }: Branch, where: string): NonNullable<Truncation['only']> {
  const [first] = constants;
  if (first !== undefined) return { column: first[0], value: first[1] };
  throw new RestageError(
    'rule_failed',
    'a table was truncated that is merged with others, and nothing tells its rows apart',
    {
      where: `${where}; table ${formatTable(shaped)}`,
      fix: 'set a constant column in the rules that merge, such as { column: year, type: int4, value: "2024" }, under the next version of the output',
    },
  );
}

function changeBehind(change: ColumnChange, before: Branch, after: Branch): ColumnChange[] {
  const branch = change.kind === 'rename' || change.kind === 'drop' ? before : after;
  const column = branch.nameOf(change.column);
  if (column === null) return [];
  if (change.kind !== 'rename') return [{ ...change, column }];
  const to = after.nameOf(change.to) ?? change.to;
  return to === column ? [] : [{ ...change, column, to }];
}

function chunkHeadersOf(record: KafkaRecord, branch: Branch, where: string): Buffer {
  const chunk = record.headers.get('chunk');
  const row = record.headers.get('row');
  if (chunk?.length !== 4 || row?.length !== 8)
    throw new RestageError('record_invalid', 'a record lacks the headers of an event', { where });
  return chunkHeaders(chunk.readUInt32BE(), Number(row.readBigUInt64BE()), 0, branch.version);
}

function parseKey(key: string, where: string): Row {
  try {
    return JSON.parse(key) as Row;
  } catch (cause) {
    throw new RestageError('record_invalid', "an event's key is not JSON", { where, cause });
  }
}
