import type pg from 'pg';
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
  const ends = await readEnds(config, source, logger);
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

async function readEnds(
  config: Config,
  source: DebeziumSourceConfig,
  logger: Logger,
): Promise<ReadonlyMap<string, bigint>> {
  const pool = openControlPool(config, logger);
  try {
    const ends = new Map<string, bigint>();
    for (const { name } of await listTopics(pool))
      if (name === source.transactionTopic || isTableTopic(source, name))
        ends.set(name, await endOffset(pool, name, 'read_committed'));
    return ends;
  } finally {
    await pool.close();
  }
}

async function compare(
  client: pg.ClientBase,
  pipeline: string,
  ends: ReadonlyMap<string, bigint>,
): Promise<TopicWaitResult> {
  const checkpoint = await readCheckpoint(client, pipeline);
  const states = await readTopicStates(client, pipeline);
  const behind = [...ends].flatMap(([topic, end]) => (end > (states?.get(topic)?.nextOffset ?? 0n) ? [topic] : []));
  const isLoadDone = checkpoint?.isLoadDone === true;
  return { isReached: isLoadDone && behind.length === 0, behind, isLoadDone };
}
