import { Writer, type Connection, type Reader } from '@platformatic/kafka';
import { placeKey } from '#core/record-counts.ts';
import { KafkaCodeError } from './kafka-error.ts';
import type { Place } from './offsets.ts';
import { groupByTopic, sendRequest } from './send-request.ts';

const API_KEY = 0;
/** Flexible encoding, all error details; every broker from Kafka 2.4 on has it (Kafka: "Protocol Guide", Produce). */
const API_VERSION = 9;
const ALL_REPLICAS = -1;
const TIMEOUT_MS = 30_000;

export interface SealedBatch extends Place {
  readonly batch: Buffer;
}

/** Sends one batch per partition, to one broker; answers base offsets by placeKey. @throws KafkaCodeError. */
export function produceBatches(
  connection: Connection,
  transactionalId: string | null,
  batches: readonly SealedBatch[],
): Promise<Map<string, bigint>> {
  return sendRequest(connection, {
    apiKey: API_KEY,
    apiVersion: API_VERSION,
    encode: () => encode(transactionalId, batches),
    decode,
  });
}

function encode(transactionalId: string | null, batches: readonly SealedBatch[]): Writer {
  return Writer.create()
    .appendString(transactionalId)
    .appendInt16(ALL_REPLICAS)
    .appendInt32(TIMEOUT_MS)
    .appendArray(groupByTopic(batches), (writer, [topic, partitions]) => {
      writer.appendString(topic).appendArray(partitions, (inner, { partition, batch }) => {
        inner
          .appendInt32(partition)
          .appendUnsignedVarInt(batch.length + 1)
          .append(batch);
      });
    })
    .appendTaggedFields();
}

function decode(reader: Reader): Map<string, bigint> {
  const offsets = new Map<string, bigint>();
  reader.readArray((topics) => {
    const topic = topics.readString();
    topics.readArray((partitions) => {
      const partition = partitions.readInt32();
      const code = partitions.readInt16();
      const baseOffset = partitions.readInt64();
      partitions.readInt64();
      partitions.readInt64();
      partitions.readArray((details) => {
        details.readInt32();
        details.readNullableString();
      });
      partitions.readNullableString();
      if (code !== 0) throw new KafkaCodeError(code, `topic ${topic}, partition ${partition}`);
      offsets.set(placeKey({ topic, partition }), baseOffset);
    });
  });
  return offsets;
}
