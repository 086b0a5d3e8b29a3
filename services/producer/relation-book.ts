import type pg from 'pg';
import { readTables } from '#adapters/postgres/catalog.ts';
import type { Relation } from '#adapters/postgres/source/pgoutput-message.ts';
import { RestageError } from '#core/errors.ts';
import { addColumnFacts } from '#adapters/postgres/source/column-facts.ts';
import { TableEvents, type DebeziumSource } from '#core/debezium/table-events.ts';
import { EventEncoder } from '#core/event-encoder.ts';
import { structureRecord, type StructureRecord } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';

/** A table as its events are encoded now. */
export interface CapturedTable {
  readonly structure: TableStructure;
  readonly record: StructureRecord;
  readonly encoder: EventEncoder;
  /** Where events have profile `debezium`; null: `encoder` writes them. */
  readonly debezium: TableEvents | null;
}

export interface RelationBookOptions {
  readonly client: pg.ClientBase;
  readonly prefix: string;
  readonly database: string;
  readonly version: string;
  readonly chosen: readonly TableStructure[];
  /** null: profile `lossless`. */
  readonly debezium: DebeziumSource | null;
  /** Structures tell columns' defaults and domains' bases: something of the pipeline has profile `debezium`. */
  readonly hasFacts: boolean;
}

/** Knows what each relation number in the stream stands for. A relation that was not chosen is null: its events are counted and left out. */
export class RelationBook {
  readonly #options: RelationBookOptions;
  readonly #chosen: Map<string, TableStructure>;
  readonly #tables = new Map<number, CapturedTable | null>();

  constructor(options: RelationBookOptions) {
    this.#options = options;
    this.#chosen = new Map(options.chosen.map((table) => [tableKey(table), table]));
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
   * Takes in a Relation message. The catalog tells what the message does not (types, keys), but it may be ahead of the stream:
   * only columns that the message names are used. @throws RestageError ddl_unsupported when they cannot be told.
   */
  async learn(relation: Relation): Promise<void> {
    const name: TableName = { schema: relation.schema, table: relation.table };
    const before = this.#chosen.get(tableKey(name));
    if (before === undefined) {
      this.#tables.set(relation.oid, null);
      return;
    }
    const [now] = await this.#describe(await readTables(this.#options.client, this.#options.prefix, relation.oid));
    const names = new Set(relation.columns.map((column) => column.name));
    const structure = [now, before].find((known) => known !== undefined && hasColumns(known, names));
    if (structure === undefined) {
      throw new RestageError('ddl_unsupported', 'a table changed in a way that the stream alone does not tell', {
        where: `${formatTable(name)}, columns in the stream: ${[...names].join(', ')}`,
        fix: 'take the table out of source.tables, or start the pipeline anew under another name',
      });
    }
    // A later column must not change the version of rows written before it.
    const shape = {
      ...structure,
      ...name,
      topic: before.topic,
      columns: structure.columns.filter((column) => column.generated || names.has(column.name)),
    };
    this.#chosen.set(tableKey(name), shape);
    this.#tables.set(
      relation.oid,
      await this.capture(
        shape,
        relation.columns.map((column) => column.name),
      ),
    );
  }

  /** The encoder of a table for values in this order of columns. */
  async capture(structure: TableStructure, order: readonly string[]): Promise<CapturedTable> {
    const columns = order.flatMap((name) => structure.columns.filter((column) => column.name === name));
    const { prefix, database, version, debezium } = this.#options;
    return {
      structure,
      record: structureRecord(structure),
      encoder: new EventEncoder(structure, columns, prefix, database, version),
      debezium: debezium === null ? null : await TableEvents.open(debezium, structure, columns),
    };
  }

  async #describe(tables: readonly TableStructure[]): Promise<readonly TableStructure[]> {
    return this.#options.hasFacts ? addColumnFacts(this.#options.client, tables) : tables;
  }
}

function hasColumns(structure: TableStructure, names: ReadonlySet<string>): boolean {
  const known = new Set(structure.columns.map((column) => column.name));
  return [...names].every((name) => known.has(name));
}
