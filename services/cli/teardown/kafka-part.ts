import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { deleteGroup, listGroups, listTopics, topicRemover } from '#adapters/kafka/removal.ts';
import type { Config } from '#core/config.ts';
import { heartbeatTopic, transactionTopic } from '#core/debezium/pipeline-records.ts';
import { findGround } from '#core/ground.ts';
import { inGroups } from '#core/in-groups.ts';
import type { Logger } from '#core/log.ts';
import { parseStructureRecord } from '#core/structure-record.ts';
import { controlTopic, epochsTopic, journalTopic, schemasTopic } from '#core/topic-names.ts';
import { openControlPool } from '../control-topic.ts';
import type { Kept, Part, Piece } from './piece.ts';

const PLACE = 'kafka';
const DELETED_AT_ONCE = 500;

/**
 * Topics and groups. A topic is ours by its reserved name, or because structures, what the pipeline remembers or the source's tables
 * (`tableTopics`) name it: another program's may begin with the same word. Those that name others go last, so that a second call finds
 * what a first one left.
 */
export async function openKafkaPart(config: Config, tableTopics: readonly string[], logger: Logger): Promise<Part> {
  const { name } = config;
  const pool = openControlPool(config, logger);
  try {
    const there = await listTopics(pool);
    const prefixes = [name, ...shapedPrefixes(name, there)];
    const tables = new Set(tableTopics);
    for (const prefix of prefixes) for (const topic of await namedBy(pool, prefix, there)) tables.add(topic);
    const first = there.filter((topic) => tables.has(topic) || isReserved(name, topic));
    const last = prefixes
      .toReversed()
      .flatMap((prefix) => [epochsTopic(prefix), schemasTopic(prefix)])
      .concat(controlTopic(name))
      .filter((topic) => there.includes(topic));
    const tablesAndState = first.filter((topic) => !last.includes(topic));
    const together = [...inGroups(tablesAndState, DELETED_AT_ONCE), ...last.map((topic) => [topic])];
    const own = new Set(together.flat());
    const groups = (await listGroups(pool)).filter((group) => isOwnGroup(name, group.name));
    return {
      pieces: [
        ...together.flatMap((topics) => {
          const remove = topicRemover(pool, topics);
          return topics.map((topic): Piece => ({
            kind: 'topic',
            name: topic,
            place: PLACE,
            remove: () => remove(topic),
          }));
        }),
        ...groups.map((group): Piece => ({
          kind: 'group',
          name: group.name,
          place: PLACE,
          remove: () => deleteGroup(pool, group.name),
        })),
      ],
      kept: there
        .filter((topic) => topic.startsWith(`${name}.`) && !own.has(topic))
        .map((topic): Kept => ({ kind: 'topic', name: topic, place: PLACE, why: 'nothing says that it is ours' })),
      active: groups.filter(({ hasMembers }) => hasMembers).map((group) => group.name.slice(name.length + 1)),
      close: () => pool.close(),
    };
  } catch (error) {
    await pool.close();
    throw error;
  }
}

function shapedPrefixes(name: string, topics: readonly string[]): string[] {
  const found = topics.flatMap((topic) => {
    const rest = topic.startsWith(`${name}.shaped.`) ? topic.slice(name.length) : '';
    const prefix = /^(\.shaped\.[a-z0-9_-]+\.v\d+)\./.exec(rest)?.[1];
    return prefix === undefined ? [] : [`${name}${prefix}`];
  });
  return [...new Set(found)];
}

/** No table's topic has such a name: schemas of these names are escaped. */
export function isReserved(name: string, topic: string): boolean {
  if ([`${name}.dlq`, journalTopic(name), transactionTopic(name), heartbeatTopic(name)].includes(topic)) return true;
  return topic.startsWith(`${name}.state.`) || /^\.shaped\.[a-z0-9_-]+\.v\d+\./.test(topic.slice(name.length));
}

function isOwnGroup(name: string, group: string): boolean {
  return (
    group.startsWith(`${name}.transformer.`) && /^[a-z0-9_-]+\.v\d+(\.lane\.\d+)?$/.test(group.slice(name.length + 13))
  );
}

/** A topic of structures may be damaged: what of it can be read is enough here. */
async function namedBy(pool: ConnectionPool, prefix: string, there: readonly string[]): Promise<string[]> {
  if (!there.includes(schemasTopic(prefix))) return [];
  const records = await readCompacted(pool, schemasTopic(prefix));
  const topics: string[] = [];
  const take = (read: () => readonly string[]): void => {
    try {
      topics.push(...read());
    } catch {
      // Damaged.
    }
  };
  take(() => Object.keys(findGround(records)?.topics ?? {}));
  for (const value of records.values()) take(() => [parseStructureRecord(value)?.structure.topic ?? '']);
  return topics.filter((topic) => topic.startsWith(`${prefix}.`));
}
