import type pg from 'pg';
import { readTable } from '#adapters/postgres/catalog.ts';
import { findGoneTypes, readTypes } from '#adapters/postgres/column-types.ts';
import type { Relation } from '#adapters/postgres/source/pgoutput-message.ts';
import { readTold } from '#adapters/postgres/source/told-structure.ts';
import { readTableFacts } from '#adapters/postgres/source/table-facts.ts';
import { RestageError } from '#core/errors.ts';
import { addColumnFacts } from '#adapters/postgres/source/column-facts.ts';
import { TableEvents, type DebeziumSource } from '#core/debezium/table-events.ts';
import type { CapturePolicy } from '#core/rules/capture-policy.ts';
import { EventEncoder } from '#core/event-encoder.ts';
import { formatLsn, LSN_ZERO, type Lsn } from '#core/lsn.ts';
import { structureRecord } from '#core/structure-record.ts';
import type { SourceShape } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';
import type { SentTuple } from '#core/tuple.ts';
import { isAfter } from '#core/xid.ts';
import type { CapturedTable, KnownTable } from './captured-table.ts';
import { findComputed } from './computed-columns.ts';
import { LabelWatch } from './label-watch.ts';
import { requireSameIdentity, type PartitionBook } from './partition-book.ts';
import { maskFills, requireSafeColumns } from './capture-guard.ts';
import { makeShape, sentColumns } from './relation-shape.ts';
import {
  findChanges,
  numberSent,
  partlyChanged,
  passOver,
  RewrittenError,
  rewritten,
  type Alteration,
  type CatalogState,
} from './table-alteration.ts';
import type { TableNames } from './table-names.ts';
import type { WrittenStructures } from './written-structures.ts';

export interface RelationBookOptions {
  /** Pipelined: a table is several questions. */
  readonly client: pg.ClientBase;
  readonly prefix: string;
  readonly database: string;
  readonly version: string;
  /** Which columns it sends. */
  readonly publication: string;
  readonly chosen: readonly TableStructure[];
  /** Tells the structures of the newest events in Kafka. */
  readonly written: WrittenStructures;
  /** A table that is not captured has changes: they are left out. Called once a table. */
  readonly onUnknown: (table: TableName) => void;
  /** null: profile `lossless`. */
  readonly debezium: DebeziumSource | null;
  /** Where partitioned tables are captured as one; else null. */
  readonly partitions: PartitionBook | null;
  /** Event triggers tell of statements that write rows anew. */
  readonly isDdlTold: boolean;
  /** Structures tell columns' defaults and domains' bases: something of the pipeline has profile `debezium`. */
  readonly hasFacts: boolean;
  /** `source.columns`. */
  readonly policy: CapturePolicy;
  /** Tables behind names. */
  readonly names: TableNames;
  /** Whether a load of the topic has what committed then, and so nobody needs it. */
  readonly coverOf: (topic: string, commit: Lsn) => Promise<{ readonly fileNode: string | null } | null>;
}

/** The open transaction. */
export interface StreamPlace {
  readonly commit: Lsn;
  readonly xid: number | null;
}

export const NO_PLACE: StreamPlace = { commit: LSN_ZERO, xid: null };

/** Knows what each relation number in the stream stands for. A relation that was not chosen is null: its events are counted and left out. */
export class RelationBook {
  readonly #options: RelationBookOptions;
  readonly #chosen: Map<string, TableStructure>;
  readonly #unknown = new Set<string>();
  readonly #relations = new Map<number, Relation>();
  readonly #tables = new Map<number, CapturedTable | null>();
  /** By relation, the transaction from which on generated columns are there that the catalog has already. */
  readonly #due = new Map<number, number>();
  /** Tables, by OID, that a statement filled added columns of, until what it made of them is learnt. */
  readonly #filled = new Set<number>();

  constructor(options: RelationBookOptions) {
    this.#options = options;
    this.#chosen = new Map(options.chosen.map((structure) => [tableKey(structure), structure]));
  }

  get database(): string {
    return this.#options.database;
  }

  /** @throws RestageError record_invalid for a relation that was never announced. */
  get(relation: number): CapturedTable | null {
    const table = this.#tables.get(relation);
    if (table === undefined)
      throw new RestageError('record_invalid', `the source sent a change of the unannounced relation ${relation}`);
    return table;
  }

  /**
   * Takes in a Relation message, which says what columns the events that follow have. The catalog tells the rest, but it may be ahead
   * of the stream. @throws RestageError ddl_unsupported when the two together do not tell what
   * happened to the table, RewrittenError where another load of it would.
   */
  async learn(relation: Relation, { commit, xid }: StreamPlace): Promise<void> {
    const { partitions } = this.#options;
    const root = partitions === null ? null : await partitions.rootOf(relation);
    const name: TableName = root ?? { schema: relation.schema, table: relation.table };
    const oid = root?.oid ?? relation.oid;
    this.#relations.set(relation.oid, relation);
    await this.#options.names.require(oid, name, this.#chosen.get(tableKey(name)) ?? null, commit);
    // A load that was waited for may have added it meanwhile.
    const chosen = this.#chosen.get(tableKey(name));
    if (chosen === undefined) {
      this.#tables.set(relation.oid, null);
      if (!this.#unknown.has(tableKey(name))) this.#options.onUnknown(name);
      this.#unknown.add(tableKey(name));
      return;
    }
    const { client, prefix, written, policy } = this.#options;
    const before = written.currentOf(chosen.topic) ?? { structure: chosen, source: null };
    const [tables, factsOf, types] = await Promise.all([
      readTable(client, prefix, oid),
      readTableFacts(client, oid),
      readTypes(client, relation.columns),
    ]);
    const [now = null] = await this.#describe(tables);
    const [facts = null] = factsOf.values();
    const isKnown = root === null || (await partitions?.takeIn(root, relation)) !== false;
    if (
      !isKnown &&
      (await this.#options.coverOf(chosen.topic, commit)) === null &&
      !(await partitions?.takeIn(root, relation))
    )
      throw partlyChanged(
        before.structure,
        `${formatTable({ schema: relation.schema, table: relation.table })} was attached`,
      );
    const all = sentColumns(relation, types, { before: before.structure, now });
    const numbers = numberSent(before, all, facts);
    const computed = findComputed({ before, sent: all, numbers, now, facts, xid });
    const sent = all.filter((column) => !policy.isExcluded(chosen, column.name));
    const parts = { before: before.structure, now, computed: computed.columns };
    const shape = policy.shape(makeShape(relation, name, sent, parts));
    const [structure = shape] = await this.#describe([shape]);
    const isGone = await findGoneTypes(client, before.structure, structure);
    const { isDdlTold } = this.#options;
    const state = { facts, now, computed, isGone, isFilled: this.#filled.delete(oid), isDdlTold };
    const { changes: found, source } = await this.#alter(before, structure, state, commit);
    const changes = maskFills(policy, structure, found);
    requireSafeColumns(policy, { relation, before: before.structure, structure, now, changes });
    if (root !== null) requireSameIdentity(relation, structure);
    const order = relation.columns.map((column) => column.name);
    const table = await this.#makeTable(structure, order, { source, changes, columnsOf: facts?.columnsOf ?? null });
    // Announced anew meanwhile: the newer message counts.
    if (this.#relations.get(relation.oid) !== relation) return;
    const earlier = this.#tables.get(relation.oid);
    const isSame = earlier?.record.version === table.record.version;
    this.#tables.set(relation.oid, isSame ? { ...table, labels: earlier.labels } : table);
    if (computed.due === null) this.#due.delete(relation.oid);
    else this.#due.set(relation.oid, computed.due);
  }

  /** A table is captured from the next event on; the server announces a relation once, so it may have come before. */
  async add(structure: TableStructure): Promise<void> {
    this.#chosen.set(tableKey(structure), structure);
    this.#unknown.delete(tableKey(structure));
    await this.#options.partitions?.add(structure);
    for (const [oid, table] of this.#tables) {
      const announced = table === null ? this.#relations.get(oid) : undefined;
      if (announced !== undefined) await this.learn(announced, NO_PLACE);
    }
  }

  hasNewLabel(relation: number, tuple: SentTuple): boolean {
    return this.get(relation)?.labels.isNew(tuple) ?? false;
  }

  /** Whether the catalog has generated columns of a relation that are there from this transaction on: nothing announces them. */
  isDue(relation: number, xid: number | null): boolean {
    const due = this.#due.get(relation);
    return due !== undefined && xid !== null && !isAfter(due, xid);
  }

  /** Reads the catalog again for what nothing announces: a value that its enum does not have yet, or a generated column. */
  async learnAgain(relation: number, place: StreamPlace): Promise<void> {
    const announced = this.#relations.get(relation);
    if (announced !== undefined) await this.learn(announced, place);
  }

  /** The same of every relation for which it is due; those whose structure changed by it. */
  async learnDue(place: StreamPlace): Promise<CapturedTable[]> {
    const changed: CapturedTable[] = [];
    for (const relation of this.#due.keys()) {
      if (!this.isDue(relation, place.xid)) continue;
      await this.learnAgain(relation, place);
      const table = this.#tables.get(relation) ?? null;
      if (table !== null && table.changes.length > 0) changed.push(table);
    }
    return changed;
  }

  /**
   * What the event trigger says of a table that a statement altered; the tables whose structure changed by it. In profile `debezium` a
   * structure comes with the next change, as with Debezium. @throws as `learn`.
   */
  async learnTold(told: string, place: StreamPlace): Promise<CapturedTable[]> {
    const { client, publication, debezium, partitions, written } = this.#options;
    const relation = debezium === null ? await readTold(client, told, publication) : null;
    if (relation === null) return [];
    const oid = partitions?.tableOf(relation.oid) ?? relation.oid;
    const known = written.findByOid(oid);
    if (known === null || !this.#chosen.has(tableKey(known.structure))) return [];
    // Who looks for new tables follows another name, once nothing is in its way.
    if (oid === relation.oid && tableKey(relation) !== tableKey(known.structure)) return [];
    await this.learn(relation, place);
    const table = this.#tables.get(relation.oid) ?? null;
    return table !== null && table.changes.length > 0 ? [table] : [];
  }

  /** What the event trigger says of a table, by its OID, before a statement fills columns that it adds: the file may tell nothing of it. */
  noteFilled(oid: string): void {
    this.#filled.add(this.#options.partitions?.tableOf(Number(oid)) ?? Number(oid));
  }

  /** What the event trigger says of a table, by its OID. @throws RewrittenError when it is captured and no other load has it. */
  async requireNotRewritten(oid: string, commit: Lsn): Promise<void> {
    const { partitions, written, coverOf } = this.#options;
    const table = written.findByOid(partitions?.tableOf(Number(oid)) ?? Number(oid));
    if (table === null || !this.#chosen.has(tableKey(table.structure))) return;
    if ((await coverOf(table.structure.topic, commit)) !== null) return;
    throw rewritten(table.structure, `a statement computed its rows anew, LSN ${formatLsn(commit)}`);
  }

  /** What a message of ours says of a table, by its OID: its name is to be looked at. @throws RewrittenError. */
  async requireFollowed(oid: string, commit: Lsn): Promise<void> {
    await this.#options.names.requireNumber(Number(oid), (name) => this.#chosen.get(tableKey(name)) ?? null, commit);
  }

  /** Where only partitions of a table are truncated: which rows went is not in the stream. @throws RewrittenError where no other load has it. */
  async requireTold(relations: readonly number[], commit: Lsn): Promise<void> {
    const { partitions, coverOf } = this.#options;
    if (partitions === null) return;
    for (const { structure } of this.#tablesOf(relations)) {
      if (partitions.isWhole(structure, relations) || (await coverOf(structure.topic, commit)) !== null) continue;
      throw partlyChanged(structure, `TRUNCATE of some of its partitions, LSN ${formatLsn(commit)}`);
    }
  }

  /** The tables that a TRUNCATE of these relations empties. What empties a part of one is in another load of it (`requireTold`). */
  truncated(relations: readonly number[]): CapturedTable[] {
    const { partitions } = this.#options;
    return this.#tablesOf(relations)
      .map((table) => this.#noteTruncated(table))
      .filter(({ structure }) => partitions?.isWhole(structure, relations) !== false);
  }

  #tablesOf(relations: readonly number[]): CapturedTable[] {
    const tables = new Map<string, CapturedTable>();
    for (const table of relations.flatMap((relation) => this.get(relation) ?? []))
      tables.set(table.structure.topic, table);
    return [...tables.values()];
  }

  /** The next file of the table says nothing of a rewrite. */
  #noteTruncated(table: CapturedTable): CapturedTable {
    if (table.source === null) return table;
    const truncated = { ...table, source: { ...table.source, fileNode: null } };
    for (const [oid, known] of this.#tables)
      if (known?.structure.topic === table.structure.topic)
        this.#tables.set(oid, { ...known, source: truncated.source });
    return truncated;
  }

  /** Tables as a load takes them: the first structures that their topics have, where no event of the stream came before. */
  async capture(
    structures: readonly TableStructure[],
    orderOf: (structure: TableStructure) => readonly string[],
  ): Promise<CapturedTable[]> {
    const facts = await readTableFacts(this.#options.client, null);
    return Promise.all(
      structures.map((structure) => {
        const found = facts.get(tableKey(structure)) ?? null;
        const source = found === null ? null : sourceShape(found);
        return this.#makeTable(structure, orderOf(structure), { source, changes: [], columnsOf: null });
      }),
    );
  }

  /** What nobody can tell is not asked where another load has it. @throws RewrittenError. */
  async #alter(before: KnownTable, structure: TableStructure, state: CatalogState, commit: Lsn): Promise<Alteration> {
    try {
      return findChanges(before, structure, state);
    } catch (error) {
      const cover = error instanceof RewrittenError ? await this.#options.coverOf(structure.topic, commit) : null;
      if (cover === null) throw error;
      return passOver(before, structure, state, cover.fileNode);
    }
  }

  async #makeTable(
    structure: TableStructure,
    order: readonly string[],
    alteration: Pick<CapturedTable, 'source' | 'changes' | 'columnsOf'>,
  ): Promise<CapturedTable> {
    const columns = order.flatMap((name) => structure.columns.filter((column) => column.name === name));
    const { prefix, database, version, debezium } = this.#options;
    return {
      structure,
      record: structureRecord(structure),
      encoder: new EventEncoder(structure, columns, prefix, database, version),
      debezium: debezium === null ? null : await TableEvents.open(debezium, structure, columns),
      ...alteration,
      labels: new LabelWatch(columns),
      mask: this.#options.policy.rowMask(structure, order),
    };
  }

  async #describe(tables: readonly TableStructure[]): Promise<readonly TableStructure[]> {
    return this.#options.hasFacts ? addColumnFacts(this.#options.client, tables) : tables;
  }
}

function sourceShape({ oid, fileNode, attributes, numbers }: SourceShape): SourceShape {
  return { oid, fileNode, attributes, numbers };
}
