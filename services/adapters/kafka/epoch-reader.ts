import { setImmediate as nextTurn } from 'node:timers/promises';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Logger } from '#core/log.ts';
import { parseManifest, type ManifestRange, type StoredManifest } from '#core/manifest.ts';
import type { KafkaRecord } from '#core/record.ts';
import { PieceJoiner } from '#core/record-pieces.ts';
import { epochsTopic } from '#core/topic-names.ts';
import { committedRecords } from './committed-records.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { FetchedTails } from './fetched-tails.ts';
import { JoinedFetches } from './joined-fetches.ts';
import { readLastManifest } from './last-manifest.ts';
import { endOffset, type Place } from './offsets.ts';
import { fetchBatches, historyLost } from './partition-reader.ts';
import type { DecodedBatch } from './record-batch-decoder.ts';

export interface EpochReaderOptions {
  readonly pool: ConnectionPool;
  readonly prefix: string;
  /** Where its manifests are. Absent: in the one partition of `<prefix>.epochs`. */
  readonly manifests?: Place;
  readonly logger: Logger;
}

const LONG_POLL_MS = 500;
/** A few fetches' worth. */
const MOST_TAIL_BYTES = 16 * 1024 * 1024;

export function createKafkaEpochReader(options: EpochReaderOptions): EpochReader {
  const { pool, manifests: place = { topic: epochsTopic(options.prefix), partition: 0 } } = options;
  const tails = new FetchedTails(MOST_TAIL_BYTES);
  const joined = new JoinedFetches(pool);
  return {
    manifests: (from, signal) => readManifests(pool, place, from, signal),
    read: (range, signal) => readRange(pool, tails, joined, range, signal),
    last: () => readLastManifest(pool, place),
    end: () => endOffset(pool, place.topic, 'read_committed', place.partition),
    close: () => Promise.resolve(),
  };
}

async function* readManifests(
  pool: ConnectionPool,
  place: Place,
  from: bigint,
  signal: AbortSignal,
): AsyncGenerator<readonly StoredManifest[]> {
  const query = { ...place, isolation: 'read_committed', channel: 'poll', maxWaitMs: LONG_POLL_MS } as const;
  let next = from;
  while (!signal.aborted) {
    const { batches, fetched } = await fetchBatches(pool, query, next);
    requireUnbroken(batches, place, next);
    const records = committedRecords(batches, fetched.aborted).filter((record) => record.offset >= next);
    next = (batches.at(-1)?.lastOffset ?? next - 1n) + 1n;
    const manifests = records.flatMap((record) => toManifest(record, place));
    if (manifests.length > 0) yield manifests;
  }
}

/**
 * A log that nothing but retention shortens has every offset from its start on, those of aborted transactions and markers too. Compaction
 * takes records out of its middle, and a manifest that is not there would be a gap that nobody sees.
 */
function requireUnbroken(batches: readonly DecodedBatch[], { topic, partition }: Place, from: bigint): void {
  let next = from;
  for (const batch of batches) {
    if (batch.baseOffset > next || (!batch.isControl && isHollow(batch)))
      throw historyLost(`topic ${topic}, partition ${partition}, offset ${next}`);
    next = batch.lastOffset + 1n;
  }
}

/** Compaction took records out of it. */
function isHollow({ count, baseOffset, lastOffset }: DecodedBatch): boolean {
  return BigInt(count) !== lastOffset - baseOffset + 1n;
}

function toManifest(record: KafkaRecord, { topic, partition }: Place): StoredManifest[] {
  if (record.value === null) return [];
  return [
    {
      offset: record.offset,
      manifest: parseManifest(record.value, `topic ${topic}, partition ${partition}, offset ${record.offset}`),
    },
  ];
}

/** After so many, about a millisecond's work of whoever takes them, whatever else waits has its turn: a target's or Kafka's answers. */
const RECORDS_A_TURN = 256;

async function* inTurns(records: readonly KafkaRecord[]): AsyncGenerator<readonly KafkaRecord[]> {
  for (let from = 0; from < records.length; from += RECORDS_A_TURN) {
    if (from > 0) await nextTurn();
    yield records.length <= RECORDS_A_TURN ? records : records.slice(from, from + RECORDS_A_TURN);
  }
}

async function* readRange(
  pool: ConnectionPool,
  tails: FetchedTails,
  joined: JoinedFetches,
  range: ManifestRange,
  signal: AbortSignal,
): AsyncGenerator<readonly KafkaRecord[]> {
  const { topic, partition } = range;
  const query = { topic, partition, isolation: 'read_uncommitted', channel: 'read', maxWaitMs: LONG_POLL_MS } as const;
  const last = BigInt(range.last);
  let next = BigInt(range.first);
  const joiner = new PieceJoiner(`topic ${topic}, partition ${partition}`);
  let known = tails.take(topic, partition, next);
  while (next <= last && !signal.aborted) {
    const { batches, bytes } = known ?? (await fetchBatches(pool, query, next, joined));
    known = null;
    for (const [index, batch] of batches.entries()) {
      if (batch.lastOffset < next) continue;
      if (batch.baseOffset > next || batch.isControl || isHollow(batch))
        throw historyLost(`topic ${topic}, partition ${partition}, offset ${next}`);
      const end = batch.lastOffset < last ? batch.lastOffset : last;
      const found = batch.records();
      const records = joiner.take(found.slice(Number(next - batch.baseOffset), Number(end - batch.baseOffset) + 1));
      next = end + 1n;
      if (next > last) {
        // A batch may hold the records of several manifests: it is decoded once.
        const shared = batch.lastOffset > last ? [{ ...batch, records: () => found }] : [];
        tails.keep(topic, partition, { batches: [...shared, ...batches.slice(index + 1)], bytes });
      }
      yield* inTurns(records);
      if (next > last) break;
    }
  }
  if (next > last) joiner.end();
}
