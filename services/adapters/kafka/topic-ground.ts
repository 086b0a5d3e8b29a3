import { pause } from '#core/backoff.ts';
import { RestageError } from '#core/errors.ts';
import {
  findGround,
  groundRecord,
  requireSameKafka,
  requireSamePartitions,
  withPartitions,
  type Ground,
} from '#core/ground.ts';
import type { Logger } from '#core/log.ts';
import { epochsTopic, schemasTopic } from '#core/topic-names.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { appendRecord, readCompacted } from './keyed-topic.ts';
import { readLastManifest } from './last-manifest.ts';
import { readTopicFacts, requirePartitions, requireSettings, type TopicFacts } from './topic-facts.ts';

const FACTS_INTERVAL_MS = 10_000;
/** Of the tables' topics, which may be thousands. */
const SETTINGS_INTERVAL_MS = 60_000;
const MISSING_ASKS = 10;
const MISSING_PAUSE_MS = 200;

export interface TopicGroundOptions {
  readonly pool: ConnectionPool;
  readonly prefix: string;
  /** Of each table's topic, as it is configured. */
  readonly partitions: number;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** Holds that Kafka and the topics of one stream of epochs stay the ones that its history was written to. */
export class TopicGround {
  readonly #options: TopicGroundOptions;
  #known: Ground | null;
  #askedAt = Number.NEGATIVE_INFINITY;
  #settingsAt = Number.NEGATIVE_INFINITY;

  private constructor(options: TopicGroundOptions, known: Ground | null) {
    this.#options = options;
    this.#known = known;
  }

  /**
   * Reads what was remembered and compares; makes nothing, also where topics are missing.
   * @throws RestageError history_lost, kafka_replaced, topic_altered.
   */
  static async open(options: TopicGroundOptions): Promise<TopicGround> {
    const { pool, prefix } = options;
    const topic = schemasTopic(prefix);
    const records = (await pool.isThere(topic)) ? await readCompacted(pool, topic) : new Map<string, Buffer>();
    // A plan is never there without the structures of its tables: they go first, or in its transaction.
    if (records.size === 0 && ((await readLastManifest(pool, prefix))?.manifest.plan ?? null) !== null) {
      throw new RestageError('history_lost', 'the topic of structures was deleted or emptied', {
        where: `topic ${topic}`,
        fix: 'start the pipeline anew under another name, with empty targets',
      });
    }
    const known = findGround(records);
    if (known !== null) requireSamePartitions(known, options.partitions);
    const ground = new TopicGround(options, known);
    await ground.require();
    return ground;
  }

  /** null until something is remembered. */
  get known(): Ground | null {
    return this.#known;
  }

  /** Asks Kafka. @throws RestageError history_lost, kafka_replaced, topic_altered. */
  async require(): Promise<void> {
    const { pool, prefix, clock } = this.#options;
    // More may be remembered while Kafka is asked: the answer is about what was known then.
    const known = this.#known;
    if (known === null) return;
    const facts = await this.#readFacts(Object.keys(known.topics));
    requireSameKafka(known, { cluster: facts.cluster, topics: facts.ids });
    const kinds = { epochs: epochsTopic(prefix), schemas: schemasTopic(prefix) };
    requirePartitions(facts, known.partitions ?? 1, Object.values(kinds));
    this.#askedAt = clock();
    const isTimeForAll = clock() - this.#settingsAt >= SETTINGS_INTERVAL_MS;
    await requireSettings(pool, isTimeForAll ? Object.keys(facts.ids) : Object.values(kinds), kinds);
    if (isTimeForAll) this.#settingsAt = clock();
  }

  /** A broker that has just come, or is behind the controller, may not know a topic yet: what is missing is asked for again. */
  async #readFacts(topics: readonly string[]): Promise<TopicFacts> {
    for (let asked = 1; ; asked += 1) {
      const facts = await readTopicFacts(this.#options.pool, topics);
      const isWhole = topics.every((topic) => facts.ids[topic] !== undefined);
      if (isWhole || asked === MISSING_ASKS) return facts;
      await pause(MISSING_PAUSE_MS);
    }
  }

  /** The same, when it is time to; what keeps Kafka from answering is another's to report. */
  async requireNow(): Promise<void> {
    if (this.#options.clock() - this.#askedAt < FACTS_INTERVAL_MS) return;
    try {
      await this.require();
    } catch (error) {
      if (error instanceof RestageError && error.kind === 'person') throw error;
      this.#options.logger.debug({ err: error }, 'Kafka could not be asked for its topics');
    }
  }

  /** Until aborted. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(FACTS_INTERVAL_MS, signal);
      if (!signal.aborted) await this.requireNow();
    }
  }

  /** Writes down what is new; call it only while no transaction of this stream is open. */
  async remember(topics: readonly string[], publication: Ground['publication']): Promise<void> {
    const { pool, prefix, partitions } = this.#options;
    const names = [epochsTopic(prefix), schemasTopic(prefix), ...topics];
    const known = this.#known;
    const unknown = names.filter((topic) => known?.topics[topic] === undefined);
    const isMore = Object.keys(publication?.tables ?? {}).some(
      (topic) => known?.publication?.tables[topic] === undefined,
    );
    if (known !== null && unknown.length === 0 && !isMore) return;
    const facts = await readTopicFacts(pool, unknown);
    const ground: Ground = {
      cluster: known?.cluster ?? facts.cluster,
      topics: { ...facts.ids, ...known?.topics },
      ...withPartitions(known === null ? partitions : (known.partitions ?? 1)),
      publication:
        publication === null
          ? null
          : { ...publication, tables: { ...publication.tables, ...known?.publication?.tables } },
    };
    const record = groundRecord(ground);
    await appendRecord(pool, schemasTopic(prefix), record.key, record.value);
    this.#known = ground;
  }

  /** For readers, which write nothing: topics as they are seen first, where nobody has remembered them. */
  async adopt(topics: readonly string[]): Promise<void> {
    if (this.#known !== null) return;
    const { pool, prefix, partitions } = this.#options;
    const facts = await readTopicFacts(pool, [epochsTopic(prefix), schemasTopic(prefix), ...topics]);
    const own = withPartitions(partitions);
    this.#known = { cluster: facts.cluster, topics: { ...facts.ids }, ...own, publication: null };
  }
}
