import { RestageError } from '#core/errors.ts';

export interface ServerOptions {
  /** Folder of its own for data and log; made when missing. */
  readonly dir: string;
  /** Default: a free one. */
  readonly port?: number;
  /** false: no fsync, for data that is thrown away. Default true. */
  readonly durable?: boolean;
  /** It serves a light load for minutes: Java's optimising compiler would cost more than it gains. Default: what is not durable. */
  readonly isBrief?: boolean;
  /** Remove `dir` when it stops. Default true. */
  readonly isTemporary?: boolean;
  /** Goes on when this process ends. Default false. */
  readonly outlivesUs?: boolean;
  /** The server's own, over the usual ones. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Of a Java process: the most memory of its heap. Default 512, enough for a few thousand partitions. */
  readonly heapMegabytes?: number;
}

export interface Server {
  readonly port: number;
  readonly version: string;
  /** Where it is a process of ours: what it has said. */
  readonly logFile?: string;
  stop(): Promise<void>;
  /** Where it is a process of ours: in good order or at once, and again over the same data. It may not be ready yet when this resolves. */
  readonly restart?: (how: 'stop' | 'crash') => Promise<void>;
}

export interface PostgresServer extends Server {
  /** A superuser's, to the database `postgres`. */
  readonly url: string;
  /** Where its initdb, and pg_dump if it has one, are; null when it is not on this machine. */
  readonly binDir: string | null;
}

export interface KafkaServer extends Server {
  /** Bootstrap brokers, `host:port` separated by commas. */
  readonly brokers: string;
}

export interface RegistryServer extends Server {
  /** Of its API that is compatible with Confluent's. */
  readonly url: string;
}

/** One way to come by a server. */
export interface Provider<S extends Server> {
  readonly name: string;
  /** null: it can start one here; else why it cannot, as a person would say it. */
  probe(): Promise<string | null>;
  start(options: ServerOptions): Promise<S>;
}

export type PostgresProvider = Provider<PostgresServer>;
export type KafkaProvider = Provider<KafkaServer>;
export type RegistryProvider = Provider<RegistryServer>;

/** Takes one line for a person. */
export type Say = (line: string) => void;

/**
 * The first provider whose probe succeeds, said aloud.
 * @throws RestageError component_missing with every provider's reason.
 */
export async function chooseProvider<S extends Server>(
  what: string,
  providers: readonly Provider<S>[],
  say: Say,
): Promise<Provider<S>> {
  const reasons: string[] = [];
  for (const provider of providers) {
    const reason = await provider.probe();
    if (reason === null) {
      say(`${what}: ${provider.name}`);
      return provider;
    }
    reasons.push(`${provider.name}: ${reason}`);
  }
  throw new RestageError('component_missing', `no way to start ${what} here`, {
    where: reasons.join('; '),
    fix: "install PostgreSQL (Debian: apt-get install -y postgresql; macOS: brew install postgresql), or run npm start for Kafka's jars",
  });
}
