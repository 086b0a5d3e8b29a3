import type pg from 'pg';
import type { DebeziumState, TopicState, UnreadState } from '#adapters/postgres/target/debezium-state.ts';
import type { TargetState } from '#adapters/postgres/target/target-state.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Lsn } from '#core/lsn.ts';
import type { BatchQuarantine } from './batch-quarantine.ts';
import type { RowWriter } from './row-writer.ts';
import type { TargetBatch } from './target-batch.ts';

export interface TargetWriterOptions {
  readonly client: pg.ClientBase;
  readonly state: TargetState;
  readonly topics: DebeziumState;
  readonly rows: RowWriter;
  readonly quarantine: BatchQuarantine;
  readonly failpoints: Failpoints;
}

/** A topic that moved. `unread` is null where it is as it was stored. */
export interface MovedTopic {
  readonly topic: string;
  readonly state: TopicState;
  readonly unread: UnreadState | null;
}

/** The target's transaction: rows, then the positions that they came from (invariant 2). */
export class TargetWriter {
  readonly #options: TargetWriterOptions;
  #isOpen = false;

  constructor(options: TargetWriterOptions) {
    this.#options = options;
  }

  get hasMissing(): boolean {
    return this.#options.rows.hasMissing;
  }

  set hasMissing(has: boolean) {
    this.#options.rows.hasMissing = has;
  }

  /** Applies what is collected in the open transaction, or in a new one. `open`: the source's transaction that more is to come of. */
  async write(batch: TargetBatch, open: Lsn | null): Promise<void> {
    const { client, state, rows, quarantine, failpoints } = this.#options;
    const isFirst = !this.#isOpen;
    if (isFirst) {
      await client.query('BEGIN');
      this.#isOpen = true;
      await state.guard(client, 'UPDATE');
      await client.query('SET CONSTRAINTS ALL DEFERRED');
    }
    await quarantine.apply(batch.steps, { isFirst, open }, rows);
    failpoints.hit('sink.part.before');
  }

  /** Ends the transaction with the positions of the topics that moved. `epoch` counts these commits. */
  async commit(
    moved: readonly MovedTopic[],
    { epoch, through, isLoadDone }: { readonly epoch: number; readonly through: Lsn; readonly isLoadDone: boolean },
  ): Promise<void> {
    const { client, state, topics, quarantine, failpoints } = this.#options;
    for (const { topic, state: one, unread } of moved) {
      await topics.store(client, topic, one);
      if (unread !== null) await topics.storeUnread(client, topic, unread);
    }
    await state.moveTo(client, { epoch, commit: through, through, nextOffset: 0n });
    await topics.setLoadDone(client, isLoadDone);
    await client.query('SET CONSTRAINTS ALL IMMEDIATE');
    failpoints.hit('sink.epoch.before');
    await client.query('COMMIT');
    this.#isOpen = false;
    failpoints.hit('sink.epoch.after');
    await quarantine.committed();
  }
}
