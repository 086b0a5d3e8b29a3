import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { KafkaRecord } from '#core/record.ts';
import type { WaitingLetter } from '#core/waiting-letter.ts';

const MOST_PIECES = 100_000n;

/** A dead letter as it stands on its raw topic. @throws RestageError history_lost. */
export async function readLetter(
  reader: EpochReader,
  { topic, partition, offset }: Pick<WaitingLetter, 'topic' | 'partition' | 'offset'>,
  signal: AbortSignal,
): Promise<KafkaRecord> {
  const ended = new AbortController();
  const until = AbortSignal.any([signal, ended.signal]);
  // One row may be several records; it ends with the first that is whole.
  const range = { topic, partition, first: String(offset), last: String(offset + MOST_PIECES), count: 1 };
  try {
    for await (const [record] of reader.read(range, until)) if (record !== undefined) return record;
  } finally {
    ended.abort();
  }
  throw new RestageError('transient', 'a dead letter was not read to its end', {
    where: `topic ${topic}, offset ${offset}`,
  });
}
