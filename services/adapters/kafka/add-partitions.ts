import { Writer, type Connection, type Reader } from '@platformatic/kafka';
import { placeKey } from '#core/record-counts.ts';
import { KafkaCodeError } from './kafka-error.ts';
import type { Place } from './offsets.ts';
import { groupByTopic, sendRequest } from './send-request.ts';

/** Kafka: "Protocol Guide", AddPartitionsToTxn. */
const API_KEY = 24;
/** The newest one for clients; later ones are for brokers among themselves. */
const API_VERSION = 3;
/** Said of all others where one partition has an error. */
const OPERATION_NOT_ATTEMPTED = 55;

export interface OpenTransaction {
  readonly transactionalId: string;
  readonly producerId: bigint;
  readonly producerEpoch: number;
}

/**
 * Partitions that a transaction is about to write to. The library makes an error, with a stack, of every partition that was not added: of a thousand that
 * have to wait for the last transaction's markers, several hundred times a second. @throws KafkaCodeError: of the first one.
 */
export function addPartitions(
  connection: Connection,
  transaction: OpenTransaction,
  places: readonly Place[],
): Promise<void> {
  return sendRequest(connection, {
    apiKey: API_KEY,
    apiVersion: API_VERSION,
    encode: () => encode(transaction, places),
    decode: requireAdded,
  });
}

function encode({ transactionalId, producerId, producerEpoch }: OpenTransaction, places: readonly Place[]): Writer {
  return Writer.create()
    .appendString(transactionalId)
    .appendInt64(producerId)
    .appendInt16(producerEpoch)
    .appendArray(groupByTopic(places), (writer, [topic, asked]) => {
      const partitions = [...new Set(asked.map(({ partition }) => partition))];
      writer.appendString(topic).appendArray(partitions, (inner, one) => inner.appendInt32(one), true, false);
    })
    .appendTaggedFields();
}

function requireAdded(reader: Reader): void {
  const failed: (Place & { readonly code: number })[] = [];
  reader.readInt32();
  reader.readArray((topics) => {
    const topic = topics.readString();
    topics.readArray((partitions) => {
      const partition = partitions.readInt32();
      const code = partitions.readInt16();
      if (code !== 0) failed.push({ topic, partition, code });
    });
  });
  const cause = failed.find(({ code }) => code !== OPERATION_NOT_ATTEMPTED) ?? failed[0];
  if (cause !== undefined) throw new KafkaCodeError(cause.code, placeKey(cause));
}
