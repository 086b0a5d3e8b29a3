import type pg from 'pg';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { endOffset } from '#adapters/kafka/offsets.ts';
import { listTopics } from '#adapters/kafka/topic-list.ts';
import { readTopicStates } from '#adapters/postgres/target/debezium-state.ts';
import { backoffMs, pause } from '#core/backoff.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { reactTo } from '#core/error-policy.ts';
import type { Logger } from '#core/log.ts';
import { isTableTopic } from '../sink/debezium/topic-set.ts';
import { openControlPool } from './control-topic.ts';
import { connectTarget, readCheckpoint } from './target-checkpoint.ts';

const POLL_MS = 50;

export interface TopicWaitResult {
  readonly isReached: boolean;
  /** Topics that the target has not caught up with. */
  readonly behind: readonly string[];
  readonly isLoadDone: boolean;
}

/**
 * Waits until the target has everything that Debezium had written to its topics when this was called, and no snapshot is open. What
 * Debezium has yet to read of the source is not known here.
 */
export async function waitForTopics(
  config: Config,
  source: DebeziumSourceConfig,
  target: TargetConfig,
  logger: Logger,
  timeout: AbortSignal,
): Promise<TopicWaitResult> {
  const pool = openControlPool(config, logger);
  try {
    return await waitForAll(
      (known) => readEnds(pool, source, known),
      (ends) => waitForEnds(config, target, ends, timeout),
    );
  } finally {
    await pool.close();
  }
}

type Ends = ReadonlyMap<string, bigint>;

/** A broker may hear of a topic that was made just now after others: once all is there it is asked again, until it names no other one. */
export async function waitForAll(
  read: (known: Ends) => Promise<Ends>,
  wait: (ends: Ends) => Promise<TopicWaitResult>,
): Promise<TopicWaitResult> {
  let ends = await read(new Map());
  for (;;) {
    const result = await wait(ends);
    if (!result.isReached) return result;
    const known = ends.size;
    ends = await read(ends);
    if (ends.size === known) return result;
  }
}

async function waitForEnds(
  config: Config,
  target: TargetConfig,
  ends: Ends,
  timeout: AbortSignal,
): Promise<TopicWaitResult> {
  let result: TopicWaitResult = { isReached: false, behind: [...ends.keys()], isLoadDone: false };
  for (let attempt = 0; !timeout.aborted && !result.isReached; attempt += 1) {
    try {
      const client = await connectTarget(config, target);
      try {
        while (!timeout.aborted && !result.isReached) {
          result = await compare(client, config.name, ends);
          if (!result.isReached) await pause(POLL_MS, timeout);
        }
      } finally {
        await client.end().catch(() => undefined);
      }
    } catch (error) {
      if (reactTo(error).do === 'stop') throw error;
      await pause(backoffMs(attempt), timeout);
    }
  }
  return result;
}

/** Of the topics that are there; of those known already as they were then. */
async function readEnds(pool: ConnectionPool, source: DebeziumSourceConfig, known: Ends): Promise<Ends> {
  const ends = new Map(known);
  for (const { name } of await listTopics(pool))
    if (!ends.has(name) && (name === source.transactionTopic || isTableTopic(source, name)))
      ends.set(name, await endOffset(pool, name, 'read_committed'));
  return ends;
}

async function compare(client: pg.ClientBase, pipeline: string, ends: Ends): Promise<TopicWaitResult> {
  const checkpoint = await readCheckpoint(client, pipeline);
  const states = await readTopicStates(client, pipeline);
  const behind = [...ends].flatMap(([topic, end]) => (end > (states?.get(topic)?.nextOffset ?? 0n) ? [topic] : []));
  const isLoadDone = checkpoint?.isLoadDone === true;
  return { isReached: isLoadDone && behind.length === 0, behind, isLoadDone };
}
