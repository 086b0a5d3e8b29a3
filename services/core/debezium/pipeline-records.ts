import type { Lsn } from '#core/lsn.ts';
import type { TableName } from '#core/table-name.ts';
import type { ConnectValue } from './connect-schema.ts';
import { HEARTBEAT_KEY, HEARTBEAT_VALUE, TRANSACTION_KEY, TRANSACTION_VALUE } from './event-schemas.ts';
import type { Convert } from './record-converter.ts';
import type { DebeziumRecord, DebeziumSource } from './table-events.ts';

/** Debezium's topic.transaction. No table's topic has this name: theirs end in `.<schema>.<table>`. */
export function transactionTopic(prefix: string): string {
  return `${prefix}.transaction`;
}

export function heartbeatTopic(prefix: string): string {
  return `__debezium-heartbeat.${prefix}`;
}

/** BEGIN and END records of one transaction, and its events' order. */
export interface TransactionFacts {
  readonly xid: number;
  /** Microseconds since 1970. */
  readonly commitTime: bigint;
}

/** Writes the records that stand beside the tables' topics: transaction boundaries and heartbeats. */
export class PipelineRecords {
  readonly #source: DebeziumSource;
  readonly #transaction: { readonly key: Convert; readonly value: Convert } | null;
  readonly #heartbeat: { readonly key: Convert; readonly value: Convert } | null;

  private constructor(
    source: DebeziumSource,
    transaction: { readonly key: Convert; readonly value: Convert } | null,
    heartbeat: { readonly key: Convert; readonly value: Convert } | null,
  ) {
    this.#source = source;
    this.#transaction = transaction;
    this.#heartbeat = heartbeat;
  }

  static async open(source: DebeziumSource): Promise<PipelineRecords> {
    const { prefix, options, converters } = source;
    const pair = async (topic: string, key: typeof TRANSACTION_KEY, value: typeof TRANSACTION_KEY) => ({
      key: await converters(topic, 'key', key),
      value: await converters(topic, 'value', value),
    });
    return new PipelineRecords(
      source,
      options.provideTransactionMetadata
        ? await pair(transactionTopic(prefix), TRANSACTION_KEY, TRANSACTION_VALUE)
        : null,
      options.heartbeatIntervalMs > 0 ? await pair(heartbeatTopic(prefix), HEARTBEAT_KEY, HEARTBEAT_VALUE) : null,
    );
  }

  get hasTransactions(): boolean {
    return this.#transaction !== null;
  }

  /** The topics that these records need. */
  get topics(): string[] {
    const { prefix } = this.#source;
    return [
      ...(this.#transaction === null ? [] : [transactionTopic(prefix)]),
      ...(this.#heartbeat === null ? [] : [heartbeatTopic(prefix)]),
    ];
  }

  /** null where transaction metadata is not asked for. */
  begin({ xid, commitTime }: TransactionFacts, lsn: Lsn): DebeziumRecord | null {
    return this.#boundary(`${xid}:${lsn}`, (id) => ['BEGIN', id, null, null, commitTime / 1_000n]);
  }

  /** `counts`: the events of each table. */
  end(
    { xid, commitTime }: TransactionFacts,
    lsn: Lsn,
    counts: readonly (readonly [TableName, number])[],
  ): DebeziumRecord | null {
    const total = counts.reduce((sum, [, count]) => sum + count, 0);
    const collections = counts.map(([table, count]) => [`${table.schema}.${table.table}`, BigInt(count)]);
    return this.#boundary(`${xid}:${lsn}`, (id) => ['END', id, BigInt(total), collections, commitTime / 1_000n]);
  }

  /** null where heartbeats are not asked for. */
  heartbeat(nowMs: number): DebeziumRecord | null {
    if (this.#heartbeat === null) return null;
    const { prefix } = this.#source;
    const { key, value } = this.#heartbeat;
    return { topic: heartbeatTopic(prefix), key: key([prefix]), value: value([BigInt(nowMs)]), headers: [] };
  }

  #boundary(id: string, valueOf: (id: string) => ConnectValue): DebeziumRecord | null {
    if (this.#transaction === null) return null;
    const { key, value } = this.#transaction;
    return { topic: transactionTopic(this.#source.prefix), key: key([id]), value: value(valueOf(id)), headers: [] };
  }
}
