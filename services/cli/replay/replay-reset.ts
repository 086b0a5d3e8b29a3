import type pg from 'pg';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { addTables } from '#adapters/postgres/target/add-tables.ts';
import { DeadLetterStore, hasDeadLetters } from '#adapters/postgres/target/dead-letter-store.ts';
import { resetTarget } from '#adapters/postgres/target/replay-reset.ts';
import { reshapeTable, type Reshaping } from '#adapters/postgres/target/reshape-table.ts';
import { SchemaJournal } from '#adapters/postgres/target/schema-journal.ts';
import { readLoadedTopics } from '#adapters/postgres/target/target-state.ts';
import { presentTables, requireFitting } from '#adapters/postgres/target/target-tables.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { findStructures } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey, type TableName } from '#core/table-name.ts';
import type { LateTable } from '#core/target-schema.ts';
import { isTopicOf, schemasTopic } from '#core/topic-names.ts';
import { StructureBook } from '../../sink/structure-book.ts';
import type { History } from './history.ts';

/** What a forced replay does to a target before it begins anew. */
export interface ResetPlan {
  /** The pipeline's own tables that are in the target. */
  readonly empties: readonly TableName[];
  /** Those of them that the history begins with, as they were then. */
  readonly reshapes: readonly Reshaping[];
  /** What it begins with and the pipeline never filled here. */
  readonly adds: readonly LateTable[];
  /** Waiting dead letters: what they are of comes again. */
  readonly deadLetters: number;
}

interface ResetTools {
  readonly client: pg.ClientBase;
  readonly pool: ConnectionPool;
  readonly config: Config;
  readonly target: TargetConfig;
  readonly own: History;
}

const UNTOUCHED: ResetPlan = { empties: [], reshapes: [], adds: [], deadLetters: 0 };

/** Only looks. @throws RestageError replay_refused where there is nothing to begin with, history_lost where a topic's table is unknown. */
export async function planReset(tools: ResetTools): Promise<ResetPlan> {
  const { client, pool, config, own } = tools;
  const journal = new SchemaJournal(client, config.name);
  if (!(await journal.isPreDataDone())) return UNTOUCHED;
  const first = await own.plan();
  if (first === null) {
    throw new RestageError('replay_refused', 'the output of this target has no history yet to fill it with', {
      where: `${own.prefix}.epochs`,
      fix: 'start its transformer first: restage transformer, or restage run',
    });
  }
  const loaded = await readLoaded(tools);
  const known = [...loaded, ...(await journal.tables())];
  const empties = await presentTables(client, distinct(known));
  const records = (await readCompacted(pool, schemasTopic(own.prefix))).values();
  const book = new StructureBook(own.reader, schemasTopic(own.prefix), records);
  const planned = await book.planned(first.manifest, new AbortController().signal);
  const ours = new Set(empties.map(tableKey));
  const boundsOf = new Map((first.manifest.tables ?? []).map(({ topic, bounds }) => [topic, bounds]));
  return {
    empties,
    reshapes: planned
      .filter((to) => ours.has(tableKey(to)))
      .map((to) => ({
        to,
        earlier: [...loaded.filter((one) => tableKey(one) === tableKey(to)), ...book.all(to.topic)],
        where: 'before a forced replay',
      })),
    adds: planned
      .filter((structure) => !ours.has(tableKey(structure)))
      .map((structure) => {
        const bounds = boundsOf.get(structure.topic);
        return bounds === undefined ? { structure } : { structure, bounds };
      }),
    deadLetters: (await hasDeadLetters(client)) ? (await new DeadLetterStore(client, config.name).counts()).waiting : 0,
  };
}

/** All or nothing, in the caller's transaction. @throws RestageError schema_missing, schema_differs, target_not_empty, ddl_unsupported. */
export async function reset({ client, config, target, own }: ResetTools, plan: ResetPlan): Promise<void> {
  const { empties, reshapes, adds } = plan;
  await resetTarget(client, config.name, empties);
  const isSameOutput = reshapes.every(({ earlier }) => earlier.every(({ topic }) => isTopicOf(own.prefix, topic)));
  const mayAlter = target.schema !== 'require' || isSameOutput;
  // Tables that somebody else made for another output are theirs to alter.
  if (mayAlter) for (const one of reshapes) await reshapeTable(client, one);
  await addTables(client, adds, target.schema !== 'require');
  await requireFitting(
    client,
    reshapes.map(({ to }) => to),
  );
}

/** Every structure that the rows in the target ever had. */
async function readLoaded({ client, pool, config }: ResetTools): Promise<TableStructure[]> {
  const topics = new Set(await readLoadedTopics(client, config.name));
  const structures: TableStructure[] = [];
  for (const prefix of new Set([...topics].map((topic) => prefixOfTopic(config.name, topic)))) {
    const records = await readCompacted(pool, schemasTopic(prefix));
    structures.push(...findStructures(records.values()).map(({ structure }) => structure));
  }
  const found = structures.filter(({ topic }) => topics.has(topic));
  const missing = [...topics].filter((topic) => !found.some((structure) => structure.topic === topic));
  if (missing.length === 0) return found;
  throw new RestageError('history_lost', 'rows of the target came from topics of which Kafka has no structure', {
    where: missing.join(', '),
    fix: 'use an empty target: which tables to empty cannot be known',
  });
}

function prefixOfTopic(name: string, topic: string): string {
  return /^(.*\.shaped\.[^.]+\.v\d+)\./.exec(topic)?.[1] ?? name;
}

function distinct(tables: readonly TableName[]): TableName[] {
  return [...new Map(tables.map(({ schema, table }) => [tableKey({ schema, table }), { schema, table }])).values()];
}
