import { committedRecords } from '#adapters/kafka/committed-records.ts';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { fetchBatches } from '#adapters/kafka/partition-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { KafkaRecord } from '#core/record.ts';

/** What a record costs beside its bytes. */
const RECORD_BYTES = 200;

/** Called with records before they are given: what reading them needs is fetched then. */
export type Learn = (records: readonly KafkaRecord[]) => Promise<void>;

/** One topic's committed records in order, some of them ahead in memory (invariant 6: whoever fills it asks for its bytes). */
export class TopicFeed {
  readonly topic: string;
  /** Records that are read ahead and not taken. */
  readonly records: KafkaRecord[] = [];
  #bytes = 0;
  #next: bigint;
  #end: bigint;
  #taken: bigint;
  readonly #pool: ConnectionPool;
  readonly #learn: Learn;

  /** `from`: the offset of the first record to give. */
  constructor(pool: ConnectionPool, topic: string, from: bigint, learn: Learn) {
    this.#pool = pool;
    this.#learn = learn;
    this.topic = topic;
    this.#next = from;
    this.#taken = from;
    this.#end = from;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Where to go on after what was taken. */
  get nextOffset(): bigint {
    return this.records[0]?.offset ?? this.#next;
  }

  /** Offsets between what was taken and the end as it was last seen. */
  get lag(): bigint {
    const behind = this.#end - this.nextOffset;
    return behind > 0n ? behind : 0n;
  }

  /** The offset that was stored last, to tell whether it moved. */
  get storedOffset(): bigint {
    return this.#taken;
  }

  noteStored(): void {
    this.#taken = this.nextOffset;
  }

  take(count: number): void {
    for (const record of this.records.splice(0, count)) this.#bytes -= sizeOf(record);
  }

  /** Fetches once. False where there was nothing new. @throws RestageError history_lost. */
  async fill(): Promise<boolean> {
    const query = {
      topic: this.topic,
      partition: 0,
      isolation: 'read_committed',
      channel: 'read',
      maxWaitMs: 0,
    } as const;
    const { batches, fetched } = await fetchBatches(this.#pool, query, this.#next).catch((error: unknown) => {
      throw error instanceof RestageError && error.code === 'history_lost' ? lost(error) : error;
    });
    this.#end = fetched.lastStableOffset > this.#end ? fetched.lastStableOffset : this.#end;
    const last = batches.at(-1);
    if (last === undefined) return false;
    const committed = committedRecords(batches, fetched.aborted).filter(({ offset }) => offset >= this.#next);
    await this.#learn(committed);
    for (const record of committed) {
      this.records.push(record);
      this.#bytes += sizeOf(record);
    }
    this.#next = last.lastOffset + 1n;
    return true;
  }
}

function sizeOf({ key, value }: KafkaRecord): number {
  return RECORD_BYTES + (key?.length ?? 0) + (value?.length ?? 0);
}

function lost(cause: RestageError): RestageError {
  return new RestageError('history_lost', "Kafka no longer has records of Debezium's that are not applied", {
    ...(cause.where === undefined ? {} : { where: cause.where }),
    cause,
    fix: 'retention took them, or the topic was made again: begin a pipeline under another name and an empty target, with a new snapshot in the topics',
  });
}
