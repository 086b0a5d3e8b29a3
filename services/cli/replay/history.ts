import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { findManifest } from '#adapters/kafka/find-manifest.ts';
import { startOffset, startOffsets } from '#adapters/kafka/offsets.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import { epochsTopic, schemasTopic } from '#core/topic-names.ts';
import { firstLater, transactionsOf } from './transactions.ts';

/** What Kafka keeps of one stream of epochs, as a replay asks it: only read, and never waited for. */
export class History {
  readonly prefix: string;
  readonly reader: EpochReader;
  readonly #pool: ConnectionPool;

  constructor(pool: ConnectionPool, prefix: string, logger: Logger) {
    this.prefix = prefix;
    this.#pool = pool;
    this.reader = createKafkaEpochReader({ pool, prefix, logger });
  }

  last(): Promise<StoredManifest | null> {
    return this.reader.last();
  }

  /** The first plan; null before there is one. */
  async plan(): Promise<StoredManifest | null> {
    const from = await this.#start();
    for await (const stored of this.#kept(from ?? 0n)) if (stored.manifest.kind === 'plan') return stored;
    return null;
  }

  /** The newest snapshot of the load that a plan begins; null before its end. */
  async newestSnapshot(plan: bigint): Promise<Lsn | null> {
    let newest: Lsn | null = null;
    for await (const { manifest } of this.#kept(plan)) {
      if (manifest.kind === 'end') return newest;
      const snapshot =
        manifest.kind === 'tableEnd' && manifest.snapshot !== undefined ? parseLsn(manifest.snapshot) : null;
      if (snapshot !== null && (newest === null || snapshot > newest)) newest = snapshot;
    }
    return null;
  }

  /** Where the first transaction later than a commit time committed; null where Kafka has none yet. */
  async firstCommitAfter(micros: bigint): Promise<Lsn | null> {
    const found = await findManifest(
      this.#pool,
      this.prefix,
      ({ commitTime }) => commitTime !== null && BigInt(commitTime) > micros,
    );
    if (found === null) return null;
    const own = firstLater(await this.#transactions(found.manifest), micros);
    return own ?? parseLsn(found.manifest.firstCommit ?? found.manifest.through);
  }

  /** Where the first transaction committed that is not before an LSN, from a manifest on; null where there is none before `to`. */
  async firstCommitBetween(offset: bigint, from: Lsn, to: Lsn): Promise<Lsn | null> {
    for await (const { manifest } of this.#kept(offset)) {
      if (manifest.kind === 'stream' && parseLsn(manifest.lastCommit ?? manifest.through) >= from) {
        const first = (await this.#transactions(manifest)).find(({ commit }) => commit >= from)?.commit ?? null;
        if (first !== null) return first < to ? first : null;
      }
      if (parseLsn(manifest.through) >= to) return null;
    }
    return null;
  }

  /**
   * Whether everything from an offset on is still there; from 0 on that is the records of every table too.
   * @throws RestageError history_lost naming the topic that no longer reaches back.
   */
  async requireReach(offset: bigint): Promise<void> {
    const topic = epochsTopic(this.prefix);
    if (!(await this.#pool.isThere(topic))) return;
    await this.#requireStart(topic, offset);
    if (offset > 0n) return;
    const plan = await this.plan();
    for (const { topic: table } of plan?.manifest.tables ?? [])
      if (await this.#pool.isThere(table)) await this.#requireStart(table, 0n);
  }

  async #requireStart(topic: string, offset: bigint): Promise<void> {
    const starts = await startOffsets(this.#pool, topic);
    const partition = starts.findIndex((start) => start > offset);
    if (partition < 0) return;
    throw new RestageError('history_lost', 'the history in Kafka no longer reaches back to where the replay begins', {
      where: `topic ${topic}, partition ${partition} begins at offset ${starts[partition]}, offset ${offset} is needed`,
      fix: 'retention or DeleteRecords took its beginning: restore a baseline (a clone or backup of a target with its schema restage) and replay from its checkpoint, or load anew under another pipeline name',
    });
  }

  #transactions(manifest: Manifest): ReturnType<typeof transactionsOf> {
    return transactionsOf(this.reader, manifest, schemasTopic(this.prefix));
  }

  async #start(): Promise<bigint | null> {
    const topic = epochsTopic(this.prefix);
    return (await this.#pool.isThere(topic)) ? startOffset(this.#pool, topic) : null;
  }

  /** What is there now. */
  async *#kept(from: bigint): AsyncGenerator<StoredManifest> {
    const newest = (await this.#start()) === null ? null : await this.reader.last();
    if (newest === null || newest.offset < from) return;
    for await (const manifests of this.reader.manifests(from, new AbortController().signal)) {
      for (const stored of manifests) {
        yield stored;
        if (stored.offset >= newest.offset) return;
      }
    }
  }
}
