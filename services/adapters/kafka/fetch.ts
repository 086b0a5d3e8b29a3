import { Writer, type Connection, type Reader } from '@platformatic/kafka';
import { placeKey } from '#core/record-counts.ts';
import { groupByTopic, sendRequest } from './send-request.ts';

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

const NOTHING: Fetched = {
  errorCode: 0,
  highWatermark: -1n,
  lastStableOffset: -1n,
  logStart: -1n,
  aborted: [],
  bytes: Buffer.alloc(0),
};

/** One partition's bytes from an offset on. Outside any fetch session. */
export async function fetchPartition(connection: Connection, query: FetchQuery): Promise<Fetched> {
  const [fetched = NOTHING] = await fetchPartitions(connection, [query], query.maxBytes);
  return fetched;
}

/**
 * The same of several partitions that one broker leads, in one request, in their order; isolation and wait are the first one's. The answer is
 * not much larger than `maxBytes`: partitions that do not fit come empty.
 */
export function fetchPartitions(
  connection: Connection,
  queries: readonly FetchQuery[],
  maxBytes: number,
): Promise<readonly Fetched[]> {
  return sendRequest(connection, {
    apiKey: API_KEY,
    apiVersion: API_VERSION,
    encode: () => encode(queries, maxBytes),
    decode: (reader) => decode(reader, queries),
  });
}

function encode(queries: readonly FetchQuery[], maxBytes: number): Writer {
  const [first] = queries;
  return Writer.create()
    .appendInt32(CONSUMER)
    .appendInt32(first?.maxWaitMs ?? 0)
    .appendInt32(1)
    .appendInt32(maxBytes)
    .appendInt8(first?.isolation === 'read_committed' ? 1 : 0)
    .appendInt32(0)
    .appendInt32(NO_EPOCH)
    .appendArray(groupByTopic(queries), (writer, [topic, asked]) => {
      writer.appendString(topic).appendArray(asked, (inner, { partition, offset, maxBytes: most }) => {
        inner
          .appendInt32(partition)
          .appendInt32(NO_EPOCH)
          .appendInt64(offset)
          .appendInt32(NO_EPOCH)
          .appendInt64(-1n)
          .appendInt32(most);
      });
    })
    .appendArray([], () => undefined)
    .appendString('')
    .appendTaggedFields();
}

function decode(reader: Reader, queries: readonly FetchQuery[]): Fetched[] {
  reader.readInt32();
  const errorCode = reader.readInt16();
  reader.readInt32();
  const found = new Map<string, Fetched>();
  reader.readArray((topics) => {
    const topic = topics.readString();
    topics.readArray((partitions) => {
      const partition = partitions.readInt32();
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
      found.set(placeKey({ topic, partition }), {
        errorCode: errorCode === 0 ? code : errorCode,
        highWatermark,
        lastStableOffset,
        logStart,
        aborted,
        bytes,
      });
    });
  });
  return queries.map((query) => found.get(placeKey(query)) ?? { ...NOTHING, errorCode });
}
