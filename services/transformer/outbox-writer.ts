import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import type { Outbox } from '#core/outbox/outbox.ts';
import type { OutboxTopics } from '#core/outbox/outbox-topics.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { RecordSink } from '#core/topic-batches.ts';

/**
 * Writes the events of outbox tables, each in the Kafka transaction of its epoch (invariant 2). Rows of a load are none: they were there before,
 * and a load may come again.
 */
export class OutboxWriter {
  readonly #topics: OutboxTopics;
  readonly #logger: Logger;

  constructor(topics: OutboxTopics, logger: Logger) {
    this.#topics = topics;
    this.#logger = logger;
  }

  /** A change of the stream. @throws RestageError rule_failed. */
  write(outbox: Outbox, { op, after }: Pick<RowEvent, 'op' | 'after'>, side: RecordSink, where: string): void {
    if (op === 'u') return this.#update(outbox, where);
    if (op !== 'c' || after === null) return;
    const { topic, key, value, headers } = outbox.event(after, this.#topics, where);
    side.append(topic, key, value, headers);
  }

  /** Debezium: table.op.invalid.behavior. */
  #update({ config: { invalidOp } }: Outbox, where: string): void {
    const what = 'a row of an outbox table was updated, which is no event';
    if (invalidOp === 'fatal')
      throw new RestageError('rule_failed', what, {
        where,
        fix: 'only insert and delete there; or set table.op.invalid.behavior to warn',
      });
    this.#logger[invalidOp]({ where }, what);
  }
}
