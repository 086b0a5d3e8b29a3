import { RestageError } from '#core/errors.ts';
import { joinHeaders } from '#core/debezium/record-headers.ts';
import type { ControlEntry, Manifest } from '#core/manifest.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { readEventPlace, readStreamHeaders, type KafkaRecord } from '#core/record.ts';
import { keyPartitioner, type Partitioner } from '#core/partitioner.ts';
import type { ModuleDeclaration } from '#core/module/declaration.ts';
import type { Branch } from '#core/rules/branch.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { TransactionChecks } from '#core/rules/transaction-checks.ts';
import { Validator } from '#core/rules/validator.ts';
import { compileTable, type ShapedEvent, type TableRules } from '#core/rules/table-rules.ts';
import {
  findStructures,
  parseStructureRecord,
  structureId,
  structureRecord,
  type ParsedStructure,
} from '#core/structure-record.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import { formatTable, tableKey } from '#core/table-name.ts';
import type { RecordSink } from '#core/topic-batches.ts';
import { splitEnvelope, timeIn } from './envelope-text.ts';
import type { EpochRecords, EventShaperOptions, RecordFacts, RecordPlace } from './event-shaper-options.ts';
import type { KeptState } from './kept-state.ts';
import { reachRows } from './reached-rows.ts';
import { TableChecks, type ToBeJudged } from './table-checks.ts';
import {
  appendEvent,
  changeBehind,
  copyOf,
  headersOf,
  isKeyChange,
  parseKey,
  passOn,
  placeOf,
  tellApart,
} from './shaped-records.ts';

/** A change of a table's columns, in its place in the stream. */
export type Alteration = Extract<ControlEntry, { kind: 'ddl' }>;

type Truncation = Extract<ControlEntry, { kind: 'truncate' }>;

/** Of the structure that a record has. */
export function versionOf(record: KafkaRecord): number {
  return readEventPlace(record)?.structure ?? record.headers.get('structure')?.readUInt32BE() ?? -1;
}

/** Records in, shaped records out: knows every raw structure and the rules that its events go through. */
export class EventShaper {
  readonly #options: EventShaperOptions;
  readonly #structures = new Map<string, TableStructure>();
  readonly #rules = new Map<string, TableRules>();
  readonly validator: Validator;
  readonly checks: TableChecks;
  readonly #partitionOf: Partitioner;
  /** Ids of the shaped structures that need not be written again. */
  readonly #written: Set<string>;
  readonly #introduced = new Set<string>();
  /** By topic: which structure its events had last, all of whose shaped ones are written. */
  readonly #ready = new Map<string, { readonly version: number; readonly rules: TableRules }>();
  readonly #newest = new Map<string, { readonly raw: TableStructure; readonly rules: TableRules }>();
  #isJoint = false;

  constructor(options: EventShaperOptions, structures: Iterable<Buffer>) {
    this.#options = options;
    const { lane } = options;
    this.#partitionOf = lane === undefined ? keyPartitioner(options.partitions ?? 1) : () => lane;
    // What another lane wrote may be named later than what this one makes next.
    this.#written = lane === undefined ? options.written : new Set();
    this.checks = new TableChecks(options.validations ?? []);
    this.validator = new Validator(this.checks.configs);
    this.#add(findStructures(structures));
  }

  /** null: the output has no module. */
  get declaration(): ModuleDeclaration | null {
    return this.#options.module?.declaration ?? null;
  }

  /** null: no rule needs one. */
  get state(): KeptState | null {
    return this.#options.state ?? null;
  }

  get structures(): TableStructure[] {
    return [...this.#newest.values()].map(({ raw }) => raw);
  }

  /** What the rules make of every structure that is known, and ids of the shaped ones that Kafka has. */
  get shapes(): { readonly given: Iterable<TableRules>; readonly written: Iterable<string> } {
    return { given: this.#rules.values(), written: this.#options.written };
  }

  /** Takes in a manifest's structures, and gives their versions by topic. */
  async learn(manifest: Manifest, signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    const learnt: ParsedStructure[] = [];
    for (const range of manifest.ranges) {
      if (range.topic !== this.#options.rawSchemasTopic) continue;
      for await (const records of this.#options.reader.read(range, signal))
        for (const { value } of records) {
          const record = value === null ? null : parseStructureRecord(value);
          if (record !== null) learnt.push(record);
        }
    }
    if (learnt.length > 0) {
      this.#add(learnt);
      await this.prepare();
    }
    return new Map(learnt.map(({ version, structure }) => [structure.topic, version]));
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
    const ready = this.#ready.get(topic);
    if (ready?.version === version) return ready.rules;
    const rules = this.#rulesAt(topic, version);
    for (const { version: shapedVersion, shaped } of rules.branches) {
      const id = structureId({ version: shapedVersion, structure: shaped });
      if (this.#written.has(id)) continue;
      this.#written.add(id);
      this.#introduced.add(id);
      const record = structureRecord(shaped);
      out.append(this.#options.shapedSchemasTopic, record.key, record.value, NO_HEADERS);
    }
    this.#ready.set(topic, { version, rules });
    return rules;
  }

  #rulesAt(topic: string, version: number): TableRules {
    const rules = this.#rules.get(structureId({ version, structure: { topic } }));
    if (rules !== undefined) return rules;
    throw new RestageError('record_invalid', `structure ${version} was never announced`, { where: `topic ${topic}` });
  }

  /** What a change of columns is behind the rules, for each table that it reaches. @throws RestageError rule_failed. */
  shapeAlteration(entry: Alteration, out: RecordSink): Alteration[] {
    this.state?.requireUnaltered(entry);
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
    this.#ready.clear();
    const rules = this.#rules.get(structureId({ version, structure: { topic } }));
    for (const { version: shapedVersion, shaped } of rules?.branches ?? [])
      this.#written.delete(structureId({ version: shapedVersion, structure: shaped }));
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
   * wait for `settle`. A promise where rows of other tables may be reached: the next record has to wait for it.
   */
  shape(record: KafkaRecord, range: RecordPlace, records: EpochRecords): string | Promise<string> {
    const { data: out, side } = records;
    const { value } = record;
    if (value === null) return '';
    const place = (): string => placeOf(range.topic, range.partition, record.offset);
    const version = versionOf(record);
    const rules = this.introduce(range.topic, version, out);
    const validation = this.checks.of(range.topic, version);
    if (validation !== null) this.validator.check(validation, this.read(record, range).event, rules, place());
    const [only] = rules.branches;
    if (rules.outbox !== null && readEventPlace(record) !== null)
      this.#options.outbox?.write(rules.outbox, splitEnvelope(value, place()).event, side, place());
    const { state = null } = this.#options;
    const isRemembered = state?.memory.has(range.topic) === true;
    if (only === undefined && !isRemembered) return '';
    const isPlain = (this.#options.debezium ?? null) === null;
    const isPassed = rules.branches.length === 1 && only?.isUnchanged === true && isPlain;
    const headersFor = (branch: Branch): Buffer => headersOf(record, branch, place);
    const pass = (branch: Branch, bytes: Buffer): string => {
      const partition = this.#partitionOf(record.key);
      return passOn(branch, { key: record.key, bytes, headers: headersFor(branch), partition }, out);
    };
    if (isPassed && !isRemembered) return pass(only, value);
    if (rules.branches.length === 1 && only !== undefined && isPlain && !isRemembered) {
      const copy = copyOf(record, only);
      if (copy !== null) return pass(only, copy);
    }
    const where = place();
    const headers = readStreamHeaders(record);
    const key = record.key?.toString('utf8') ?? null;
    const { event, tail } = splitEnvelope(value, where);
    const row = { ...event, key: key === null ? null : parseKey(key, where) };
    const at = { place: where, time: timeIn(tail) };
    const take = (shaped: readonly ShapedEvent[]): string =>
      this.append(shaped, { tail, headers, headersFor, where }, out);
    if (state !== null && isRemembered) {
      const isKnown = headers === null && state.memory.isLookedUp(range.topic);
      const taken = state.memory.take(rules, row, at, isKnown);
      state.note(range.topic, taken.changes, side);
      const ops = isPassed ? pass(only, value) : take(taken.own);
      if (taken.others !== null && headers !== null)
        return reachRows(this, taken.others, { tail, headers, where }, records).then((more) => ops + more);
      if (!rules.isForModule) return ops;
    } else if (!rules.isForModule) return take(rules.apply(row, at));
    const { module = null } = this.#options;
    if (module === null) throw new RestageError('bug', 'an output without its module', { where });
    module.add({ source: rules.source, event: row, at }, take, value.length);
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

  /** What is to be judged of an event when its transaction ends. */
  addToChecks(checks: TransactionChecks, record: KafkaRecord, range: RecordPlace, facts: ToBeJudged): void {
    const validation = this.checks.of(range.topic, versionOf(record));
    if (validation === null || validation.sums.length + validation.relations.length === 0) return;
    const { event, rules } = this.read(record, range);
    if (facts.isWhole) checks.addToSums(validation, event);
    const relations = validation.relations.filter(
      ({ isOfOther, remembers }) => !isOfOther || facts.isComparable(remembers.topic),
    );
    if (relations.length === 0) return;
    const where = placeOf(range.topic, range.partition, record.offset);
    checks.touch({ relations }, event, { where, letter: facts.letter(), conceal: (row) => rules.conceal(row) });
  }

  /** Structures that were introduced since, in an epoch that is given up, are to be introduced again. */
  forgetIntroduced(): void {
    this.#ready.clear();
    for (const id of this.#introduced) this.#written.delete(id);
    this.#introduced.clear();
    this.#isJoint = false;
    this.state?.rollback();
    this.validator.forget();
  }

  /** The epoch is being written: it is not given up any more. */
  keepIntroduced(): void {
    this.#introduced.clear();
    this.validator.keep();
  }

  /** Whether `settle` should be called before the next record. */
  get isFull(): boolean {
    return this.#options.module?.isFull === true;
  }

  /** Appends what waits for the module, as `shape` does; nothing more waits then. @throws RestageError rule_failed. */
  async settle(signal: AbortSignal): Promise<string> {
    return (await this.#options.module?.settle(signal)) ?? '';
  }

  /** Returns the ops. */
  append(shaped: readonly ShapedEvent[], { tail, headers, headersFor, where }: RecordFacts, out: RecordSink): string {
    const debezium = this.#options.debezium ?? null;
    for (const { branch, event } of shaped) {
      this.#isJoint ||= this.isPartitioned && isKeyChange(branch, event);
      if (debezium === null)
        appendEvent(branch, event, { tail, headers: headersFor(branch), partitionOf: this.#partitionOf, where }, out);
      else
        for (const made of debezium.shape(branch, event, tail, headers?.position ?? null, where)) {
          const all = joinHeaders(headersFor(branch), made.headers);
          out.append(made.topic, made.key, made.value, all, this.#partitionOf(made.key));
        }
    }
    return shaped.map(({ event }) => event.op).join('');
  }

  /** Shaped tables have several partitions. */
  get isPartitioned(): boolean {
    return (this.#options.partitions ?? 1) > 1;
  }

  /** Whether a row's key changed behind the rules since this was asked before: its events may be of two partitions. */
  takeJoint(): boolean {
    const isJoint = this.#isJoint;
    this.#isJoint = false;
    return isJoint;
  }

  /** Rules of tables that look up one of these are compiled anew with it. */
  #add(records: readonly ParsedStructure[]): void {
    this.#ready.clear();
    const added = new Map(records.map(({ structure }) => [tableKey(structure), structure]));
    const captured = new Map(this.structures.map((structure) => [tableKey(structure), structure]));
    for (const [key, structure] of added) captured.set(key, structure);
    for (const record of records) this.#structures.set(structureId(record), record.structure);
    this.checks.add(records, this.#structures, [...captured.values()]);
    const { rules, tables, shapedPrefix, debezium = null, state = null } = this.#options;
    const isLooking = (table: TableStructure): boolean =>
      rules.some(
        (rule) =>
          tableKey(rule.table) === tableKey(table) &&
          rule.lookUps?.some((one) => added.has(tableKey(one.table))) === true,
      );
    const context = { captured: [...captured.values()], isWhole: debezium !== null, tables };
    for (const [id, structure] of this.#structures)
      if (!this.#rules.has(id) || isLooking(structure))
        this.#rules.set(id, compileTable(structure, rules, shapedPrefix, this.declaration, context));
    for (const { structure: raw } of records) this.#newest.set(raw.topic, { raw, rules: this.#rulesBehind(raw) });
    for (const { raw } of this.#newest.values())
      if (isLooking(raw)) this.#newest.set(raw.topic, { raw, rules: this.#rulesBehind(raw) });
    const compiled = [...this.#newest.values()].map((known) => known.rules);
    state?.memory.define(compiled, this.checks.relations(this.structures));
  }

  #rulesBehind(structure: TableStructure): TableRules {
    const rules = this.#rules.get(structureId({ version: structureVersion(structure), structure }));
    if (rules !== undefined) return rules;
    throw new RestageError('bug', 'a structure without its rules', { where: `topic ${structure.topic}` });
  }
}
