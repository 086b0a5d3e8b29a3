import type { Connection, Reader, Writer } from '@platformatic/kafka';
import type { Place } from './offsets.ts';

/** A request that this adapter encodes itself, in a version with flexible encoding (Kafka: "Protocol Guide", KIP-482). */
export interface OwnRequest<T> {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly encode: () => Writer;
  /** What it throws rejects the request. */
  readonly decode: (reader: Reader) => T;
}

export function sendRequest<T>(
  connection: Connection,
  { apiKey, apiVersion, encode, decode }: OwnRequest<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    connection.send(
      apiKey,
      apiVersion,
      encode,
      (_correlation, _key, _version, reader) => decode(reader),
      true,
      true,
      (error, answer) => (error ? reject(error) : resolve(answer as T)),
    );
  });
}

/** As requests name places: each topic once, with its partitions. */
export function groupByTopic<P extends Place>(places: readonly P[]): [topic: string, places: P[]][] {
  const topics = new Map<string, P[]>();
  for (const place of places) {
    const known = topics.get(place.topic);
    if (known === undefined) topics.set(place.topic, [place]);
    else known.push(place);
  }
  return [...topics];
}
