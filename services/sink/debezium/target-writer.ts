import type pg from 'pg';
import type { DebeziumState, TopicState } from '#adapters/postgres/target/debezium-state.ts';
import { putRows, type PutResult } from '#adapters/postgres/target/put-rows.ts';
import type { TargetState } from '#adapters/postgres/target/target-state.ts';
import { badRecord, formatPlace } from '#core/debezium-source/bad-record.ts';
import type { SourceChange } from '#core/debezium-source/row-change.ts';
import { sqlStateOf } from '#core/error-policy.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Lsn } from '#core/lsn.ts';
import { formatTable } from '#core/table-name.ts';
import { refusalError } from '../refusal.ts';
import type { SinkTable } from './table-book.ts';
import type { TargetBatch, BatchStep } from './target-batch.ts';

export interface TargetWriterOptions {
  readonly client: pg.ClientBase;
  readonly state: TargetState;
  readonly topics: DebeziumState;
  readonly failpoints: Failpoints;
  /** Rows that wait for values when the sink starts. */
  readonly hasMissing: boolean;
}

/** A row twice in one statement, or a value that a type refuses: the row by itself tells which (PostgreSQL: "Error Codes"). */
const ROW_FAULT = /^(21000|22...|23...)$/;
const CONSTRAINT_CLASS = '23';
const NOT_SUPPORTED = '0A000';

/** The target's transaction: rows, then the positions that they came from (invariant 2). */
export class TargetWriter {
  readonly #options: TargetWriterOptions;
  #isOpen = false;
  /** Whether rows may wait for values. */
  hasMissing: boolean;

  constructor(options: TargetWriterOptions) {
    this.#options = options;
    this.hasMissing = options.hasMissing;
  }

  /** Applies what is collected in the open transaction, or in a new one. */
  async write(batch: TargetBatch): Promise<void> {
    const { client, state, failpoints } = this.#options;
    if (!this.#isOpen) {
      await client.query('BEGIN');
      this.#isOpen = true;
      await state.guard(client, 'UPDATE');
      await client.query('SET CONSTRAINTS ALL DEFERRED');
    }
    for (const step of batch.steps) await this.#apply(step);
    failpoints.hit('sink.part.before');
  }

  /** Ends the transaction with the positions of the topics that moved. `epoch` counts these commits. */
  async commit(
    moved: readonly { readonly topic: string; readonly state: TopicState }[],
    { epoch, through, isLoadDone }: { readonly epoch: number; readonly through: Lsn; readonly isLoadDone: boolean },
  ): Promise<void> {
    const { client, state, topics, failpoints } = this.#options;
    for (const one of moved) await topics.store(client, one.topic, one.state);
    await state.moveTo(client, { epoch, commit: through, through, nextOffset: 0n });
    await topics.setLoadDone(client, isLoadDone);
    await client.query('SET CONSTRAINTS ALL IMMEDIATE');
    failpoints.hit('sink.epoch.before');
    await client.query('COMMIT');
    this.#isOpen = false;
    failpoints.hit('sink.epoch.after');
  }

  async #apply(step: BatchStep): Promise<void> {
    const { client, topics } = this.#options;
    switch (step.kind) {
      case 'rows':
        for (const [table, changes] of step.changes) await this.#put(table, changes);
        for (const [table, keys] of step.seen) await topics.noteSeen(client, table.topic, table.target, keys);
        return;
      case 'truncate':
        return this.#truncate(step.tables);
      case 'work':
        return step.run(client);
    }
  }

  async #put(table: SinkTable, changes: readonly SourceChange[]): Promise<void> {
    const { client } = this.#options;
    await client.query('SAVEPOINT rows');
    try {
      await this.#note(table, await putRows(client, table.target, changes));
    } catch (error) {
      if (!ROW_FAULT.test(sqlStateOf(error))) throw error;
      await client.query('ROLLBACK TO SAVEPOINT rows');
      for (const change of changes) await this.#putOne(table, change);
    }
    await client.query('RELEASE SAVEPOINT rows');
  }

  async #putOne(table: SinkTable, change: SourceChange): Promise<void> {
    try {
      await this.#note(table, await putRows(this.#options.client, table.target, [change]));
    } catch (error) {
      const where = `table ${formatTable(table.form.table)}, ${formatPlace(change)}`;
      if (sqlStateOf(error).startsWith(CONSTRAINT_CLASS)) throw refusalError(error, where);
      if (!ROW_FAULT.test(sqlStateOf(error))) throw error;
      // The server's message names the type; it may hold the value as well (invariant 8).
      throw badRecord(
        change,
        `a column of ${formatTable(table.form.table)} does not take its value (${sqlStateOf(error)})`,
      );
    }
  }

  async #note(table: SinkTable, { missing, made }: PutResult): Promise<void> {
    const { client, topics } = this.#options;
    if (missing.length > 0) {
      await topics.noteMissing(client, table.topic, table.target, missing);
      this.hasMissing = true;
    }
    if (this.hasMissing) await topics.clearMissing(client, table.topic, table.target, made);
  }

  /** A foreign key of a table that is not emptied forbids TRUNCATE, even where nothing checks it (PostgreSQL: "TRUNCATE"). */
  async #truncate(tables: readonly SinkTable[]): Promise<void> {
    const { client, topics } = this.#options;
    await client.query('SAVEPOINT rows');
    try {
      await client.query(`TRUNCATE ${tables.map(({ target }) => target.only).join(', ')}`);
    } catch (error) {
      if (sqlStateOf(error) !== NOT_SUPPORTED) throw error;
      await client.query('ROLLBACK TO SAVEPOINT rows');
      for (const { target } of tables) await client.query(`DELETE FROM ${target.only}`);
    }
    await client.query('RELEASE SAVEPOINT rows');
    for (const { topic } of tables) await topics.clearAllMissing(client, topic);
  }
}
