import type pg from 'pg';
import type { DebeziumState } from '#adapters/postgres/target/debezium-state.ts';
import { putRows, type PutResult } from '#adapters/postgres/target/put-rows.ts';
import { badRecord, formatPlace } from '#core/debezium-source/bad-record.ts';
import type { SourceChange } from '#core/debezium-source/row-change.ts';
import { isEventFault, sqlStateOf } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { formatTable } from '#core/table-name.ts';
import { refusalError } from '../refusal.ts';
import type { SinkTable } from './table-book.ts';

const TWICE_IN_ONE_STATEMENT = '21000';
const VALUE_CLASS = '22';
const NOT_SUPPORTED = '0A000';

/** Puts changes of Debezium's events into the target's open transaction. */
export class RowWriter {
  readonly #client: pg.ClientBase;
  readonly #topics: DebeziumState;
  /** Whether rows may wait for values. */
  hasMissing: boolean;

  constructor(client: pg.ClientBase, topics: DebeziumState, hasMissing: boolean) {
    this.#client = client;
    this.#topics = topics;
    this.hasMissing = hasMissing;
  }

  /** A table's changes in order. `isSingly`: where they are refused together, each is tried by itself, and tells which it is. */
  async put(table: SinkTable, changes: readonly SourceChange[], isSingly: boolean): Promise<void> {
    const client = this.#client;
    await client.query('SAVEPOINT rows');
    try {
      await this.#note(table, await putRows(client, table.target, changes));
    } catch (error) {
      if (!isRefused(error) || (!isSingly && sqlStateOf(error) !== TWICE_IN_ONE_STATEMENT)) throw error;
      await client.query('ROLLBACK TO SAVEPOINT rows');
      for (const change of changes) await this.#putOne(table, change);
    }
    await client.query('RELEASE SAVEPOINT rows');
  }

  /** A foreign key of a table that is not emptied forbids TRUNCATE, even where nothing checks it (PostgreSQL: "TRUNCATE"). */
  async truncate(tables: readonly SinkTable[]): Promise<void> {
    const client = this.#client;
    await client.query('SAVEPOINT rows');
    try {
      await client.query(`TRUNCATE ${tables.map(({ target }) => target.only).join(', ')}`);
    } catch (error) {
      if (sqlStateOf(error) !== NOT_SUPPORTED) throw error;
      await client.query('ROLLBACK TO SAVEPOINT rows');
      for (const { target } of tables) await client.query(`DELETE FROM ${target.only}`);
    }
    await client.query('RELEASE SAVEPOINT rows');
    for (const { topic } of tables) await this.#topics.clearAllMissing(client, topic);
  }

  async #putOne(table: SinkTable, change: SourceChange): Promise<void> {
    try {
      await this.#note(table, await putRows(this.#client, table.target, [change]));
    } catch (error) {
      if (!isRefused(error)) throw error;
      const refused = refusalOf(error, table, change);
      REFUSED.set(refused, change);
      throw refused;
    }
  }

  async #note(table: SinkTable, { missing, made }: PutResult): Promise<void> {
    if (missing.length > 0) {
      await this.#topics.noteMissing(this.#client, table.topic, table.target, missing);
      this.hasMissing = true;
    }
    if (this.hasMissing) await this.#topics.clearMissing(this.#client, table.topic, table.target, made);
  }
}

const REFUSED = new WeakMap<Error, SourceChange>();

/** The change that an error of `put` names. */
export function refusedSource(error: unknown): SourceChange | null {
  return (error instanceof Error ? REFUSED.get(error) : undefined) ?? null;
}

/** A row twice in one statement, or what the server refuses of a row: the row by itself tells which (PostgreSQL: "Error Codes"). */
function isRefused(error: unknown): boolean {
  return !(error instanceof RestageError) && (sqlStateOf(error) === TWICE_IN_ONE_STATEMENT || isEventFault(error));
}

/** The server's message of a value names its type; it may hold the value as well (invariant 8). */
function refusalOf(error: unknown, { form }: SinkTable, change: SourceChange): RestageError {
  const table = formatTable(form.table);
  const state = sqlStateOf(error);
  if (state.startsWith(VALUE_CLASS) || state === TWICE_IN_ONE_STATEMENT)
    return badRecord(change, `a column of ${table} does not take its value (${state})`);
  return refusalError(error, `table ${table}, ${formatPlace(change)}`);
}
