import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { startOffset } from '#adapters/kafka/offsets.ts';
import { listTopics, type ListedTopic } from '#adapters/kafka/topic-list.ts';
import { newTopicState, type TopicState, type UnreadState } from '#adapters/postgres/target/debezium-state.ts';
import type { ReadEvent, ReadKey } from '#core/debezium-source/event.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { RestageError } from '#core/errors.ts';
import { matchesGlob } from '#core/glob.ts';
import type { Logger } from '#core/log.ts';
import { TopicFeed, type Learn } from './topic-feed.ts';
import { TopicReader } from './topic-reader.ts';

const HEARTBEAT = '__debezium-heartbeat';

/** Whether the configuration means this topic as a table's: the last pattern that matches decides. */
export function isTableTopic(config: DebeziumSourceConfig, topic: string): boolean {
  if (topic === config.transactionTopic || topic.startsWith(HEARTBEAT)) return false;
  let isChosen = false;
  for (const pattern of config.topics) {
    const isExclude = pattern.startsWith('!');
    if (matchesGlob(isExclude ? pattern.slice(1) : pattern, topic)) isChosen = !isExclude;
  }
  return isChosen;
}

/**
 * The chosen topics that are there. @throws RestageError table_not_found for none, or where a name without `*` and `?` is not there;
 * source_not_ready where one has several partitions; history_lost where one was made again after `states`.
 */
export async function listTableTopics(
  pool: ConnectionPool,
  config: DebeziumSourceConfig,
  states: ReadonlyMap<string, TopicState>,
): Promise<ListedTopic[]> {
  const all = await listTopics(pool);
  const names = new Set(all.map(({ name }) => name));
  const absent = config.topics.filter((topic) => !/^!|[*?]/.test(topic) && !names.has(topic));
  const chosen = all.filter(({ name }) => isTableTopic(config, name));
  const [first = null] = absent;
  const gone = [...states.keys()].filter((topic) => !names.has(topic));
  if (gone.length > 0) throw madeAgain(gone.join(', '), 'the topic is not there any more');
  if (first !== null || chosen.length === 0) throw notThere(first ?? config.topics.join(', '));
  const boundaries = all.filter(({ name }) => name === config.transactionTopic);
  for (const topic of [...chosen, ...boundaries]) requireReadable(topic, states.get(topic.name));
  return chosen;
}

function requireReadable(topic: ListedTopic, state: TopicState | undefined): void {
  if (state !== undefined && state.topicId !== topic.id)
    throw madeAgain(topic.name, 'the topic was deleted and made again');
  if (topic.partitions === 1) return;
  throw new RestageError(
    'source_not_ready',
    'a topic of Debezium has several partitions, which keep no order among them',
    {
      where: `topic ${topic.name}, ${topic.partitions} partitions`,
      fix: 'let the connector write to topics of one partition (topic.creation.default.partitions: 1)',
    },
  );
}

function notThere(topic: string): RestageError {
  return new RestageError('table_not_found', 'source.debezium chooses topics that are not there', {
    where: topic,
    fix: 'start the connector first, or correct source.debezium.topics',
  });
}

function madeAgain(topic: string, what: string): RestageError {
  return new RestageError('history_lost', `${what}, and the target has a position on it`, {
    where: `topic ${topic}`,
    fix: 'begin a pipeline under another name and an empty target, with a new snapshot in the topics',
  });
}

export interface TopicSetOptions {
  readonly pool: ConnectionPool;
  readonly config: DebeziumSourceConfig;
  readonly states: ReadonlyMap<string, TopicState>;
  readonly unread: ReadonlyMap<string, UnreadState>;
  readonly reader: (topic: string) => ReadEvent;
  /** null: a record that cannot be read stops the sink. */
  readonly keyReader: (() => ReadKey) | null;
  readonly learn: Learn;
  readonly logger: Logger;
}

const MOST_BYTES_AHEAD = 64 * 1024 * 1024;
const MOST_BYTES_A_TOPIC = 1024 * 1024;
const FETCHES_AT_ONCE = 16;

/** The tables' topics, with those that come later. */
export class TopicSet {
  readonly readers = new Map<string, TopicReader>();
  #round = 0;
  readonly #options: TopicSetOptions;

  constructor(options: TopicSetOptions) {
    this.#options = options;
  }

  /** Takes in what is new. */
  async refresh(): Promise<void> {
    const { pool, config, states, logger } = this.#options;
    const known = new Map([...states, ...[...this.readers].map(([name, reader]) => [name, reader.state] as const)]);
    for (const { name, id } of await listTableTopics(pool, config, known)) {
      if (this.readers.has(name)) continue;
      const state = states.get(name) ?? newTopicState(id);
      const from = states.has(name) ? state.nextOffset : await startOffset(pool, name);
      if (!states.has(name) && from > 0n)
        logger.warn({ topic: name, offset: String(from) }, 'retention has taken the beginning of the topic');
      const feed = new TopicFeed(pool, name, from, this.#options.learn);
      const { reader, keyReader, unread } = this.#options;
      this.readers.set(
        name,
        new TopicReader(feed, state, reader(name), keyReader === null ? null : keyReader(), unread.get(name)),
      );
    }
  }

  /** The readers from another one on each time, so that none waits for a busy one. */
  turn(): TopicReader[] {
    const all = [...this.readers.values()];
    const from = all.length === 0 ? 0 : this.#round++ % all.length;
    return [...all.slice(from), ...all.slice(0, from)];
  }

  /** Reads ahead, within bounds (invariant 6). False where nothing was new. */
  async fill(): Promise<boolean> {
    let isNew = false;
    const wanting = this.turn().filter(({ feed }) => feed.bytes < MOST_BYTES_A_TOPIC);
    for (let from = 0; from < wanting.length && this.#bytesAhead() < MOST_BYTES_AHEAD; from += FETCHES_AT_ONCE) {
      const filled = await Promise.all(wanting.slice(from, from + FETCHES_AT_ONCE).map(({ feed }) => feed.fill()));
      isNew ||= filled.includes(true);
    }
    return isNew;
  }

  #bytesAhead(): number {
    let bytes = 0;
    for (const { feed } of this.readers.values()) bytes += feed.bytes;
    return bytes;
  }
}
