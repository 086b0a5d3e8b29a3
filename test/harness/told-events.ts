import { Kafka, logLevel, type IHeaders, type Producer } from 'kafkajs';
import { openAdmin } from './kafka-admin.ts';
import { testKafka } from './servers.ts';

type Row = Readonly<Record<string, unknown>>;

/** A change as a test tells it. Without `xid` it is of a snapshot. */
export interface ToldEvent {
  readonly table: string;
  readonly op: 'c' | 'u' | 'd' | 'r' | 't';
  readonly row?: Row;
  readonly key?: Row;
  readonly snapshot?: string;
  readonly headers?: IHeaders;
  /** Beside the event before it, as the two halves of a key's change are. */
  readonly isSamePlace?: boolean;
  /** In place of the value. */
  readonly raw?: Buffer | string;
}

/** Topics as a Debezium connector writes them, JSON without schemas, told by a test. `await using` disconnects it. */
export class ToldTopics implements AsyncDisposable {
  readonly #producer: Producer;
  readonly prefix: string;
  #lsn = 1_000;
  #lastCommit = 900;

  private constructor(producer: Producer, prefix: string) {
    this.#producer = producer;
    this.prefix = prefix;
  }

  static async open(prefix: string, tables: readonly string[]): Promise<ToldTopics> {
    await using admin = await openAdmin();
    const names = [...tables.map((table) => `${prefix}.public.${table}`), `${prefix}.transaction`];
    await admin.createTopics({ topics: names.map((topic) => ({ topic, numPartitions: 1 })) });
    const producer = new Kafka({ brokers: [testKafka()], logLevel: logLevel.NOTHING }).producer();
    await producer.connect();
    return new ToldTopics(producer, prefix);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#producer.disconnect();
  }

  topic(table: string): string {
    return `${this.prefix}.public.${table}`;
  }

  /** One source transaction with its END. Returns the offset of each event's record. */
  async transaction(xid: number, events: readonly ToldEvent[]): Promise<number[]> {
    const counts = new Map<string, number>();
    const offsets: number[] = [];
    for (const [at, event] of events.entries()) {
      const own = (counts.get(event.table) ?? 0) + 1;
      counts.set(event.table, own);
      offsets.push(
        await this.send(event, { id: `${xid}:${this.#lsn}`, total_order: at + 1, data_collection_order: own }),
      );
    }
    const commit = (this.#lsn += 10);
    this.#lastCommit = commit;
    const collections = [...counts].map(([table, count]) => ({
      data_collection: `public.${table}`,
      event_count: count,
    }));
    await this.#producer.send({
      topic: `${this.prefix}.transaction`,
      messages: [
        {
          value: JSON.stringify({
            status: 'END',
            id: `${xid}:${commit}`,
            ts_ms: commit,
            data_collections: collections,
          }),
        },
      ],
    });
    return offsets;
  }

  /** One record. Returns its offset. */
  async send(event: ToldEvent, transaction: object | null = null): Promise<number> {
    const lsn = (this.#lsn += event.isSamePlace === true ? 0 : 1);
    const source = {
      connector: 'postgresql',
      schema: 'public',
      table: event.table,
      lsn,
      sequence: JSON.stringify([String(this.#lastCommit), String(lsn)]),
      ts_ms: lsn,
      snapshot: event.snapshot ?? 'false',
    };
    const isOld = event.op === 'd';
    const value = JSON.stringify({
      op: event.op,
      before: isOld ? event.row : null,
      after: isOld ? null : event.row,
      source,
      transaction,
    });
    const key = event.key ?? (event.row === undefined ? null : { id: event.row['id'] });
    const [sent] = await this.#producer.send({
      topic: this.topic(event.table),
      messages: [
        { key: key === null ? null : JSON.stringify(key), value: event.raw ?? value, headers: event.headers ?? {} },
      ],
    });
    return Number(sent?.baseOffset ?? -1);
  }

  /** Commits of a table's own, where no transactions are told. */
  commit(): void {
    this.#lastCommit = this.#lsn += 10;
  }
}
