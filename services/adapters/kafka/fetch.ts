import { Writer, type Connection, type Reader } from '@platformatic/kafka';

const API_KEY = 1;
/** The last version that names topics by name (Kafka: "Protocol Guide", Fetch). */
const API_VERSION = 12;
const CONSUMER = -1;
const NO_EPOCH = -1;

export type Isolation = 'read_uncommitted' | 'read_committed';

export interface FetchQuery {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly isolation: Isolation;
  readonly maxBytes: number;
  /** How long the broker may wait for a first byte. */
  readonly maxWaitMs: number;
}

export interface Fetched {
  readonly errorCode: number;
  readonly highWatermark: bigint;
  readonly lastStableOffset: bigint;
  readonly logStart: bigint;
  readonly aborted: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[];
  /** Record batches as they stand in the log; the last may be cut. */
  readonly bytes: Buffer;
}

/** One partition's bytes from an offset on. Outside any fetch session. */
export function fetchPartition(connection: Connection, query: FetchQuery): Promise<Fetched> {
  return new Promise((resolve, reject) => {
    connection.send(
      API_KEY,
      API_VERSION,
      () => encode(query),
      (_correlation, _key, _version, reader) => decode(reader),
      true,
      true,
      (error, fetched) => (error ? reject(error) : resolve(fetched as Fetched)),
    );
  });
}

function encode(query: FetchQuery): Writer {
  return Writer.create()
    .appendInt32(CONSUMER)
    .appendInt32(query.maxWaitMs)
    .appendInt32(1)
    .appendInt32(query.maxBytes)
    .appendInt8(query.isolation === 'read_committed' ? 1 : 0)
    .appendInt32(0)
    .appendInt32(NO_EPOCH)
    .appendArray([query], (writer, { topic, partition, offset, maxBytes }) => {
      writer.appendString(topic).appendArray([partition], (inner, index) => {
        inner
          .appendInt32(index)
          .appendInt32(NO_EPOCH)
          .appendInt64(offset)
          .appendInt32(NO_EPOCH)
          .appendInt64(-1n)
          .appendInt32(maxBytes);
      });
    })
    .appendArray([], () => undefined)
    .appendString('')
    .appendTaggedFields();
}

function decode(reader: Reader): Fetched {
  reader.readInt32();
  const errorCode = reader.readInt16();
  reader.readInt32();
  let result: Fetched = {
    errorCode,
    highWatermark: -1n,
    lastStableOffset: -1n,
    logStart: -1n,
    aborted: [],
    bytes: Buffer.alloc(0),
  };
  reader.readArray((topics) => {
    topics.readString();
    topics.readArray((partitions) => {
      partitions.readInt32();
      const code = partitions.readInt16();
      const highWatermark = partitions.readInt64();
      const lastStableOffset = partitions.readInt64();
      const logStart = partitions.readInt64();
      const aborted =
        partitions.readNullableArray((list) => ({ producerId: list.readInt64(), firstOffset: list.readInt64() })) ?? [];
      partitions.readInt32();
      const size = partitions.readUnsignedVarInt() - 1;
      const bytes =
        size > 0 ? partitions.buffer.slice(partitions.position, partitions.position + size) : Buffer.alloc(0);
      if (size > 0) partitions.skip(size);
      result = {
        errorCode: errorCode === 0 ? code : errorCode,
        highWatermark,
        lastStableOffset,
        logStart,
        aborted,
        bytes,
      };
    });
  });
  return result;
}
