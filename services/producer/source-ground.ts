import type pg from 'pg';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { TopicGround } from '#adapters/kafka/topic-ground.ts';
import { readPublicationFacts, readPublicationMark } from '#adapters/postgres/source/publication-facts.ts';
import { requireSamePublication, type Ground } from '#core/ground.ts';
import type { Logger } from '#core/log.ts';
import type { TableStructure } from '#core/structure.ts';

/** What a producer stands on, remembered from its first life on and compared before anything is made and while it runs. */
export interface SourceGround {
  /** Reads anew what is remembered, before any topic is made. @throws RestageError history_lost, kafka_replaced, topic_altered. */
  open(): Promise<void>;
  /** The source's side, once it is known to be the same server. @throws RestageError publication_altered. */
  take(client: pg.ClientBase, tables: readonly TableStructure[]): Promise<void>;
  /** Writes down what is new of the captured tables, while no transaction is open; `topics`: of those that have theirs. */
  remember(client: pg.ClientBase, tables: readonly TableStructure[], topics: readonly string[]): Promise<void>;
  /** Topics that came since. */
  rememberTopics(topics: readonly string[]): Promise<void>;
  /** Both, while it runs: every few seconds. @throws as `open` and `take`. */
  require(client: pg.ClientBase): Promise<void>;
}

export interface SourceGroundOptions {
  readonly pool: ConnectionPool;
  readonly prefix: string;
  readonly publication: string;
  /** Of each table's topic. */
  readonly partitions: number;
  readonly logger: Logger;
  readonly clock: () => number;
}

export function createSourceGround(options: SourceGroundOptions): SourceGround {
  let topics: TopicGround | null = null;
  let captured: readonly TableStructure[] = [];
  const read = (client: pg.ClientBase, tables: readonly TableStructure[]): Promise<Ground['publication']> =>
    readPublicationFacts(client, options.publication, tables);
  /** When the two were last found to be the same. */
  let compared: string | null = '';
  const compare = async (client: pg.ClientBase): Promise<void> => {
    const known = topics?.known ?? null;
    if (known !== null) requireSamePublication(known, { ...known, publication: await read(client, captured) });
  };
  return {
    async open() {
      topics = await TopicGround.open(options);
    },
    async take(client, tables) {
      captured = tables;
      compared = '';
      await compare(client);
    },
    async remember(client, tables, made) {
      captured = tables;
      compared = '';
      await topics?.remember(made, await read(client, tables));
    },
    async rememberTopics(made) {
      await topics?.remember(made, topics.known?.publication ?? null);
    },
    async require(client) {
      const mark = await readPublicationMark(client, options.publication);
      if (mark !== compared) await compare(client);
      compared = mark;
      await topics?.requireNow();
    },
  };
}
