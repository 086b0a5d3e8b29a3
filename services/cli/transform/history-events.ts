import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { findManifest } from '#adapters/kafka/find-manifest.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { HistoryPoint } from '#core/history-point.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn } from '#core/lsn.ts';
import type { ManifestRange } from '#core/manifest.ts';
import { readStreamHeaders, type KafkaRecord } from '#core/record.ts';
import { findStructures, structureId } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { readInOrder, type RangeRecord } from '../../transformer/ordered-records.ts';

/** Where to begin: a place in the source's history, or an offset of `.epochs`. */
export type StartPoint = HistoryPoint | { readonly kind: 'offset'; readonly offset: bigint };

/** A record of a raw topic with the structure that it was written under. */
export interface HistoryEvent {
  readonly record: KafkaRecord;
  readonly structure: TableStructure;
  readonly version: number;
  /** Topic, partition, offset. */
  readonly place: string;
  /** Of its manifest, on `.epochs`. */
  readonly offset: bigint;
}

/** The raw history up to its end as it is now, in the order of its manifests. Nothing is written: no group, no lease, no topic. */
export async function* readHistory(
  pool: ConnectionPool,
  prefix: string,
  start: StartPoint,
  wants: (structure: TableStructure) => boolean,
  { logger, signal }: { readonly logger: Logger; readonly signal: AbortSignal },
): AsyncGenerator<HistoryEvent> {
  const schemas = schemasTopic(prefix);
  await requireHistory(pool, schemas);
  const reader = createKafkaEpochReader({ pool, prefix, logger });
  const done = new AbortController();
  const until = AbortSignal.any([signal, done.signal]);
  try {
    const records = findStructures((await readCompacted(pool, schemas)).values());
    const structures = new Map(records.map((record) => [structureId(record), record.structure]));
    const topics = new Set(records.flatMap(({ structure }) => (wants(structure) ? [structure.topic] : [])));
    const end = await reader.end();
    const from = await offsetOf(pool, prefix, start, end);
    if (from >= end) return;
    for await (const manifests of reader.manifests(from, until)) {
      for (const { manifest, offset } of manifests) {
        const ranges = manifest.ranges.filter(({ topic }) => topics.has(topic));
        for await (const { range, record } of readRanges(reader, ranges, until)) {
          if (record.value === null) continue;
          const place = `topic ${range.topic}, partition ${range.partition}, offset ${record.offset}`;
          const version = readStreamHeaders(record)?.structure ?? record.headers.get('structure')?.readUInt32BE() ?? -1;
          const structure = structures.get(structureId({ version, structure: { topic: range.topic } }));
          if (structure === undefined)
            throw new RestageError('record_invalid', `structure ${version} was never announced`, { where: place });
          yield { record, structure, version, place, offset };
        }
        if (offset + 1n >= end) return;
      }
    }
  } finally {
    done.abort();
    await reader.close();
  }
}

/** One range after another; where a topic has several, in the source's order. */
async function* readRanges(
  reader: EpochReader,
  ranges: readonly ManifestRange[],
  signal: AbortSignal,
): AsyncGenerator<RangeRecord> {
  if (new Set(ranges.map(({ topic }) => topic)).size < ranges.length) return yield* readInOrder(reader, ranges, signal);
  for (const range of ranges)
    for await (const records of reader.read(range, signal)) for (const record of records) yield { range, record };
}

/** The newest structure of every table that was captured. */
export async function readNewest(pool: ConnectionPool, prefix: string): Promise<TableStructure[]> {
  const schemas = schemasTopic(prefix);
  await requireHistory(pool, schemas);
  const records = findStructures((await readCompacted(pool, schemas)).values());
  return [...new Map(records.map(({ structure }) => [structure.topic, structure])).values()];
}

async function requireHistory(pool: ConnectionPool, schemas: string): Promise<void> {
  if (await pool.isThere(schemas)) return;
  throw new RestageError('usage', 'the pipeline has no history yet', { where: `topic ${schemas}` });
}

/** On `.epochs`. */
export async function offsetOf(pool: ConnectionPool, prefix: string, start: StartPoint, end: bigint): Promise<bigint> {
  if (start.kind === 'beginning') return 0n;
  if (start.kind === 'offset') return start.offset;
  const found = await findManifest(pool, prefix, ({ through, commitTime }) =>
    start.kind === 'lsn' ? parseLsn(through) >= start.lsn : commitTime !== null && BigInt(commitTime) >= start.micros,
  );
  return found?.offset ?? end;
}
