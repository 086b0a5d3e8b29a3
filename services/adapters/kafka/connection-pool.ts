import { isIP } from 'node:net';
import { Connection, findCoordinatorV6, metadataV12 } from '@platformatic/kafka';
import type { KafkaConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { inGroups } from '#core/in-groups.ts';
import type { Logger } from '#core/log.ts';
import { isRetriable, kafkaError, protocolCode, saysLeaderMoved } from './kafka-error.ts';
import { pause } from '#core/backoff.ts';

/** What a connection is used for: a long poll must not stand in front of a produce or a fetch. */
export type Channel = 'control' | 'write' | 'read' | 'poll' | 'group';

export interface TopicPlace {
  readonly topic: string;
  /** By partition. */
  readonly leaders: readonly number[];
}

export interface PoolOptions {
  readonly clientId: string;
  readonly logger: Logger;
}

/** Kafka: "Protocol Guide", Error Codes: UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE. */
const UNKNOWN_TOPIC = 3;
const NO_LEADER = 5;
const CONNECT_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 30_000;
const COORDINATOR_ATTEMPTS = 100;
const COORDINATOR_PAUSE_MS = 100;
const ELECTION_LIMIT_MS = 10_000;
const ELECTION_PAUSE_MS = 100;
const ASKED_AT_ONCE = 500;
export const TRANSACTION_COORDINATOR = 1;
export const GROUP_COORDINATOR = 0;

/**
 * Connections to brokers, one per broker and channel, made on demand; a broken one is forgotten, and where topics live is asked anew
 * after any sign that they moved. Requests are not retried here.
 */
export class ConnectionPool {
  readonly #config: KafkaConfig;
  readonly #clientId: string;
  readonly #logger: Logger;
  readonly #connections = new Map<string, Promise<Connection>>();
  readonly #topics = new Map<string, TopicPlace>();
  /** There, but led by nobody when they were last asked for. */
  readonly #leaderless = new Set<string>();
  readonly #brokers = new Map<number, { host: string; port: number }>();

  constructor(config: KafkaConfig, options: PoolOptions) {
    this.#config = config;
    this.#clientId = options.clientId;
    this.#logger = options.logger;
  }

  /** Runs a request on a broker's connection (`null`: any). @throws RestageError kafka_unreachable, kafka_auth, fenced, kafka_fault. */
  async request<T>(broker: number | null, channel: Channel, send: (connection: Connection) => Promise<T>): Promise<T> {
    try {
      return await this.#send(broker, channel, send);
    } catch (error) {
      if (saysLeaderMoved(error)) this.#topics.clear();
      throw error;
    }
  }

  async #send<T>(broker: number | null, channel: Channel, send: (connection: Connection) => Promise<T>): Promise<T> {
    const key = `${broker ?? 'any'}/${channel}`;
    let opening = this.#connections.get(key);
    if (opening === undefined) {
      opening = this.#connect(broker);
      this.#connections.set(key, opening);
    }
    try {
      return await send(await opening);
    } catch (error) {
      if (protocolCode(error) === null) this.#forget(key, opening);
      throw kafkaError(error, this.#config.brokers);
    }
  }

  /** Where topics live; those that are not there are left out. What others forget meanwhile is in the answer all the same. */
  async locate(topics: readonly string[]): Promise<Map<string, TopicPlace>> {
    const known = new Map(topics.map((topic) => [topic, this.#topics.get(topic)]));
    const unknown = [...known].flatMap(([topic, place]) => (place === undefined ? [topic] : []));
    for (const some of inGroups(unknown, ASKED_AT_ONCE))
      for (const place of await this.#refresh(some)) known.set(place.topic, place);
    return new Map([...known].flatMap(([topic, place]) => (place === undefined ? [] : [[topic, place]])));
  }

  /**
   * False where no broker knows the topic. One that is just being made, or whose broker starts, is there but has no leader: waits for it.
   * @throws RestageError kafka_fault when it has none for long.
   */
  async isThere(topic: string): Promise<boolean> {
    return (await this.#find(topic)) !== null;
  }

  async #find(topic: string): Promise<TopicPlace | null> {
    for (const deadline = Date.now() + ELECTION_LIMIT_MS; ; await pause(ELECTION_PAUSE_MS)) {
      const place = (await this.locate([topic])).get(topic);
      if (place !== undefined) return place;
      if (!this.#leaderless.has(topic)) return null;
      if (Date.now() > deadline)
        throw new RestageError('kafka_fault', 'a topic of this pipeline has no leader', {
          where: `topic ${topic}`,
          fix: 'see that the brokers run that hold copies of it',
        });
    }
  }

  /** @throws RestageError history_lost when the topic is not there, kafka_fault when it has no leader for long. */
  async leaderOf(topic: string, partition = 0): Promise<number> {
    const place = await this.#find(topic);
    const leader = place?.leaders[partition];
    if (leader !== undefined) return leader;
    const what = place === null ? 'a topic of this pipeline is not there' : 'a topic lacks a partition';
    throw new RestageError('history_lost', what, {
      where: place === null ? `topic ${topic}` : `topic ${topic}, partition ${partition}`,
      fix: 'if it was deleted, start the pipeline anew under another name',
    });
  }

  /** After an error that says a leader moved. */
  forgetTopic(topic: string): void {
    this.#topics.delete(topic);
  }

  /** The broker that coordinates a transactional.id or a group; waits while the cluster is still electing it. */
  async coordinator(kind: number, key: string): Promise<number> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const found = await this.request(null, 'control', (connection) =>
          findCoordinatorV6.api.async(connection, kind, [key]),
        );
        const [first] = found.coordinators;
        if (first === undefined) throw new RestageError('kafka_fault', 'Kafka names no coordinator', { where: key });
        this.#brokers.set(first.nodeId, { host: first.host, port: first.port });
        return first.nodeId;
      } catch (error) {
        if (!isRetriable(error) || attempt === COORDINATOR_ATTEMPTS) throw error;
        await pause(COORDINATOR_PAUSE_MS);
      }
    }
  }

  /** Ends what is under way on a channel, which fails at once; what is asked next gets a new connection. */
  cut(channel: Channel): void {
    for (const [key, opening] of this.#connections) if (key.endsWith(`/${channel}`)) this.#forget(key, opening);
  }

  async close(): Promise<void> {
    const all = [...this.#connections.values()];
    this.#connections.clear();
    await Promise.allSettled(all.map(async (opening) => (await opening).close()));
  }

  /** What is not there says nothing of where others are. */
  async #refresh(topics: readonly string[]): Promise<TopicPlace[]> {
    const metadata = await this.#send(null, 'control', (connection) =>
      metadataV12.api.async(connection, [...topics], false),
    ).catch((error: unknown) => {
      // The library rejects the whole answer for one missing topic, and keeps it beside the error.
      if (topics.length > 1 && protocolCode(error) !== null) return answerIn(error);
      const [topic] = topics;
      if (topic !== undefined) this.#leaderless.delete(topic);
      if (protocolCode(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return undefined;
      if (protocolCode(error) !== 'LEADER_NOT_AVAILABLE' || topic === undefined) throw error;
      this.#leaderless.add(topic);
      return undefined;
    });
    const places: TopicPlace[] = [];
    if (metadata === null) for (const topic of topics) places.push(...(await this.#refresh([topic])));
    for (const { nodeId, host, port } of metadata?.brokers ?? []) this.#brokers.set(nodeId, { host, port });
    for (const topic of metadata?.topics ?? []) places.push(...(await this.#noteTopic(topic, topics.length > 1)));
    return places;
  }

  /** `mayAsk`: of one that something is wrong with an answer of its own says more. */
  async #noteTopic({ name, errorCode, partitions }: TopicMetadata, mayAsk: boolean): Promise<TopicPlace[]> {
    if (typeof name !== 'string') return [];
    if (errorCode === UNKNOWN_TOPIC) {
      this.#leaderless.delete(name);
      return [];
    }
    if (errorCode === NO_LEADER || partitions.some((partition) => partition.errorCode === NO_LEADER)) {
      this.#leaderless.add(name);
      return [];
    }
    if (mayAsk && (errorCode !== 0 || partitions.some((partition) => partition.errorCode !== 0)))
      return this.#refresh([name]);
    const leaders = Array.from({ length: Math.max(1, partitions.length) }, () => -1);
    for (const { partitionIndex, leaderId } of partitions) leaders[partitionIndex] = leaderId;
    if (leaders.some((leader) => leader < 0)) {
      this.#leaderless.add(name);
      return [];
    }
    this.#leaderless.delete(name);
    const place = { topic: name, leaders };
    this.#topics.set(name, place);
    return [place];
  }

  async #connect(broker: number | null): Promise<Connection> {
    const known = broker === null ? undefined : this.#brokers.get(broker);
    const addresses = known === undefined ? this.#config.brokers.map(parseBroker) : [known];
    let failure: unknown = null;
    for (const { host, port } of addresses) {
      const connection = new Connection(this.#clientId, {
        connectTimeout: CONNECT_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        maxInflights: 16,
        // A name to check the certificate by; an IP address is none (RFC 6066).
        ...(this.#config.ssl ? { tls: {}, tlsServerName: isIP(host) === 0 } : {}),
        ...(this.#config.sasl === null ? {} : { sasl: saslOptions(this.#config.sasl) }),
      });
      // A break between requests must not end the process: the next request reports it.
      connection.on('error', (error) => this.#logger.debug({ error }, 'a Kafka connection broke'));
      try {
        await connection.connect(host, port);
        return connection;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  #forget(key: string, opening: Promise<Connection>): void {
    if (this.#connections.get(key) === opening) this.#connections.delete(key);
    opening.then((connection) => connection.close()).catch(() => undefined);
  }
}

type Metadata = Awaited<ReturnType<typeof metadataV12.api.async>>;
type TopicMetadata = Metadata['topics'][number];

/** What a broker answered for some topics beside its errors for others; null where it is not told. */
function answerIn(error: unknown): Metadata | null {
  for (let at = error; at instanceof Error; at = at.cause)
    if ('response' in at && typeof at.response === 'object' && at.response !== null && 'topics' in at.response)
      return at.response as Metadata;
  return null;
}

export function createConnectionPool(config: KafkaConfig, options: PoolOptions): ConnectionPool {
  return new ConnectionPool(config, options);
}

const SASL_MECHANISMS = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;

function saslOptions(sasl: NonNullable<KafkaConfig['sasl']>): {
  mechanism: (typeof SASL_MECHANISMS)[number];
  username: string;
  password: string;
} {
  const mechanism = SASL_MECHANISMS.find((known) => known === sasl.mechanism.toUpperCase());
  if (mechanism === undefined) {
    throw new RestageError('config_invalid', `kafka.sasl.mechanism ${JSON.stringify(sasl.mechanism)} is not known`, {
      fix: `use one of ${SASL_MECHANISMS.join(', ')}`,
    });
  }
  return { mechanism, username: sasl.username, password: sasl.password };
}

function parseBroker(address: string): { host: string; port: number } {
  const match = /^\[?(.*?)\]?:(\d+)$/.exec(address);
  if (match === null)
    throw new RestageError('config_invalid', `kafka.brokers: ${JSON.stringify(address)} is not host:port`);
  return { host: match[1] ?? '', port: Number(match[2]) };
}
