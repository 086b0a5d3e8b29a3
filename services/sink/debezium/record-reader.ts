import { schemaById } from '#adapters/registry/schema-by-id.ts';
import type { KafkaConfig } from '#core/config.ts';
import { AvroReader, schemaIdOf } from '#core/debezium-source/avro-reader.ts';
import type { ReadDatum } from '#core/debezium-source/event.ts';
import { JsonReader } from '#core/debezium-source/json-reader.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { RestageError } from '#core/errors.ts';
import type { KafkaRecord } from '#core/record.ts';

/** How keys and values of the topics are read. */
export class RecordReader {
  readonly #config: DebeziumSourceConfig;
  readonly #registryUrl: string;
  /** A text says why a schema is of no use. */
  readonly #schemas = new Map<number, AvroReader | string>();

  constructor(config: DebeziumSourceConfig, { registryUrl }: KafkaConfig) {
    this.#config = config;
    this.#registryUrl = registryUrl ?? '';
  }

  /** A reader of one topic's keys or values: what it learns of their schemas is its own. */
  open(): ReadDatum {
    if (this.#config.format === 'avro') return (bytes) => this.#readerOf(bytes).read(bytes);
    const json = new JsonReader(this.#config.schemasEnable);
    return (bytes) => json.read(bytes);
  }

  /**
   * Asks the registry for the schemas of records that are read ahead; what is wrong with one is said when its record's turn comes.
   * @throws RestageError registry_unreachable.
   */
  async learn(records: readonly KafkaRecord[]): Promise<void> {
    if (this.#config.format !== 'avro') return;
    for (const { key, value } of records)
      for (const bytes of [key, value]) {
        if (bytes === null || bytes.length < 5 || bytes[0] !== 0) continue;
        const id = schemaIdOf(bytes);
        if (this.#schemas.has(id)) continue;
        this.#schemas.set(id, await this.#fetch(id));
      }
  }

  #readerOf(bytes: Buffer): AvroReader {
    const id = schemaIdOf(bytes);
    const known = this.#schemas.get(id) ?? 'it was not asked for';
    if (typeof known === 'string') throw new SyntaxError(`schema id ${id}: ${known}`);
    return known;
  }

  async #fetch(id: number): Promise<AvroReader | string> {
    try {
      return new AvroReader(await schemaById(this.#registryUrl, id));
    } catch (error) {
      if (error instanceof SyntaxError) return error.message;
      if (error instanceof RestageError && error.code === 'registry_refused') return error.message;
      throw error;
    }
  }
}
