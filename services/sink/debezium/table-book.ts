import type pg from 'pg';
import { readTables } from '#adapters/postgres/catalog.ts';
import { addColumnFacts } from '#adapters/postgres/source/column-facts.ts';
import { readTargetTable, type TargetTable } from '#adapters/postgres/target/target-table.ts';
import { requireEmpty } from '#adapters/postgres/target/target-tables.ts';
import { formatPlace } from '#core/debezium-source/bad-record.ts';
import { collectionTopic } from '#core/debezium-source/boundary.ts';
import { formOf } from '#core/debezium-source/column-text.ts';
import type { SourceEvent } from '#core/debezium-source/event.ts';
import { lossesOf, type ModeLosses } from '#core/debezium-source/mode-losses.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { requireReadable, type RowForm } from '#core/debezium-source/row-change.ts';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';
import { tableTopic } from '#core/topic-names.ts';

/** Where one topic's rows go. */
export interface SinkTable {
  readonly topic: string;
  readonly form: RowForm;
  readonly target: TargetTable;
  /** What the connector's modes lose of its values. */
  readonly losses: ModeLosses;
}

/** The target's tables as events name them, from its own catalog: what a record says of names never gets into SQL unseen. */
export class TableBook {
  readonly #client: pg.ClientBase;
  readonly #config: DebeziumSourceConfig;
  #structures: ReadonlyMap<string, TableStructure> | null = null;
  readonly #tables = new Map<string, SinkTable>();

  constructor(client: pg.ClientBase, config: DebeziumSourceConfig) {
    this.#client = client;
    this.#config = config;
  }

  /** Somebody may have altered the target: everything is asked anew. */
  forget(): void {
    this.#structures = null;
    this.#tables.clear();
  }

  /**
   * The table of an event's rows. `isFirst`: nothing of its topic was applied yet, so the table must be empty.
   * @throws RestageError schema_missing, schema_differs, target_not_empty, identity_missing, config_invalid.
   */
  async open(event: SourceEvent, isFirst: boolean): Promise<SinkTable> {
    const columns = keyColumns(event);
    const id = JSON.stringify([event.topic, event.table.schema, event.table.table, columns]);
    const known = this.#tables.get(id);
    if (known !== undefined) return known;
    const name = this.#config.tables.get(tableKey(event.table)) ?? event.table;
    const structure = await this.#structureOf(name, event);
    if (isFirst) await requireEmpty(this.#client, [name]);
    // A TRUNCATE has no key, and needs none.
    if (event.op !== 't') this.#requireKey(structure, columns, event);
    const form = rowForm(name, structure);
    if ((event.after ?? event.before ?? event.key)?.schema === null) requireReadable(form, this.#config.options);
    const identity = { kind: columns.length === 0 ? 'full' : 'primaryKey', columns, isFull: true } as const;
    const target = await readTargetTable(this.#client, { ...structure, identity });
    const row = event.after ?? event.before;
    const losses: ModeLosses = row === null ? new Map() : lossesOf(row, form, this.#config.options);
    const table = { topic: event.topic, form, target, losses };
    this.#tables.set(id, table);
    return table;
  }

  /**
   * The table of a topic, for a record that cannot be read: that of the events before it, else the one that the topic is named after.
   * null where neither tells.
   */
  async findByTopic(topic: string): Promise<SinkTable | null> {
    for (const known of this.#tables.values()) if (known.topic === topic) return known;
    const named: { readonly structure: TableStructure; readonly length: number }[] = [];
    const structures = await this.#all();
    for (const [source, structure] of this.#sources(structures)) {
      const names = [collectionTopic('', `${source.schema}.${source.table}`), tableTopic('', source)];
      const length = Math.max(...names.map((name) => (topic.endsWith(name) ? name.length : 0)));
      if (length > 0) named.push({ structure, length });
    }
    const longest = Math.max(...named.map(({ length }) => length));
    const [only, ...others] = named.filter(({ length }) => length === longest);
    if (only === undefined || others.length > 0) return null;
    const [structure = only.structure] = await addColumnFacts(this.#client, [only.structure]);
    const target = await readTargetTable(this.#client, structure);
    return { topic, form: rowForm(structure, structure), target, losses: new Map() };
  }

  /** The target's tables by what the source calls them. */
  #sources(structures: ReadonlyMap<string, TableStructure>): (readonly [TableName, TableStructure])[] {
    const named = [...this.#config.tables].flatMap(([source, target]) => {
      const structure = structures.get(tableKey(target));
      const [schema = '', table = ''] = source.split('\u0000');
      return structure === undefined ? [] : [[{ schema, table }, structure] as const];
    });
    const renamed = new Set(named.map(([, structure]) => structure));
    return [...named, ...[...structures.values()].filter((one) => !renamed.has(one)).map((one) => [one, one] as const)];
  }

  async #all(): Promise<ReadonlyMap<string, TableStructure>> {
    this.#structures ??= new Map((await readTables(this.#client, '')).map((table) => [tableKey(table), table]));
    return this.#structures;
  }

  async #structureOf(name: TableName, event: SourceEvent): Promise<TableStructure> {
    const found = (await this.#all()).get(tableKey(name));
    if (found === undefined)
      throw new RestageError('schema_missing', "the target has no table for events of Debezium's", {
        where: `${formatTable(name)}; ${formatPlace(event)}`,
        fix: 'create it, or say under source.debezium.tables what it is called there',
      });
    const [withFacts] = await addColumnFacts(this.#client, [found]);
    return withFacts ?? found;
  }

  /** What decides which row a change is for must be unique at the target as well. */
  #requireKey(structure: TableStructure, columns: readonly string[], event: SourceEvent): void {
    const where = `${formatTable(structure)}; ${formatPlace(event)}`;
    if (columns.length === 0) {
      if (this.#config.transactionTopic !== null) return;
      throw new RestageError(
        'identity_missing',
        'a table without key cannot be followed: repeats of its events are not told',
        {
          where,
          fix: 'give the table a primary key, or let Debezium write transactions (provide.transaction.metadata) and name source.debezium.transaction.topic',
        },
      );
    }
    const deferrable = new Set((structure.deferrable ?? []).map(keyText));
    const keys = [structure.primaryKey, ...structure.uniques].map(keyText).filter((key) => !deferrable.has(key));
    if (keys.includes(keyText(columns))) return;
    throw new RestageError('schema_differs', "the events' key is no unique key of the target's table", {
      where: `${where}: ${columns.join(', ')}`,
      fix: `ALTER TABLE ${formatTable(structure)} ADD UNIQUE (${columns.join(', ')}), not deferrable`,
    });
  }
}

function rowForm(table: TableName, { columns }: TableStructure): RowForm {
  return {
    table,
    columns: new Map(columns.map((column) => [column.name, formOf(column)])),
    generated: new Set(columns.filter(({ generated }) => generated).map((column) => column.name)),
  };
}

function keyColumns({ key }: SourceEvent): readonly string[] {
  return key === null ? [] : [...key.values.keys()];
}

function keyText(columns: readonly string[]): string {
  return JSON.stringify(columns.toSorted());
}
