import type pg from 'pg';
import { ensureDdlTrigger } from '#adapters/postgres/source/ddl-trigger.ts';
import { keepPublished, readPublicationFacts } from '#adapters/postgres/source/publication-facts.ts';
import { ensurePublication } from '#adapters/postgres/source/publication.ts';
import { LoadedTables } from '#core/debezium/loaded-tables.ts';
import { tableKey } from '#core/table-name.ts';
import type { TableStructure } from '#core/structure.ts';
import { ensureSlot, type BornSlot } from './birth.ts';
import { findTables } from './choose-tables.ts';
import type { Closers } from './closers.ts';
import { openDebezium, type DebeziumParts } from './debezium-parts.ts';
import { findAnnounced, type AnnouncedLoad } from './find-announced.ts';
import type { FoundHistory } from './found-history.ts';
import type { NewTables } from './new-tables.ts';
import { PartitionBook } from './partition-book.ts';
import { watchNewTables } from './producer-loads.ts';
import type { ProducerParts } from './producer-parts.ts';
import { requireSameHistory } from './same-history.ts';
import { repairSlot } from './slot-repair.ts';
import { TableTopics } from './table-topics.ts';
import { findUnfinished, type UnfinishedLoad } from './unfinished-load.ts';

/** From here on the server keeps every change of these tables for this attempt. */
export interface BegunCapture {
  readonly chosen: readonly TableStructure[];
  /** Their topics; late loads add theirs. */
  readonly captured: Set<string>;
  /** null: an old slot goes on. */
  readonly born: BornSlot | null;
  /** The stream has told of every ALTER since the slot was made. */
  readonly isDdlTold: boolean;
  /** null: no late load is open. */
  readonly announced: AnnouncedLoad | null;
  readonly unfinished: UnfinishedLoad;
  readonly tableTopics: TableTopics;
  readonly newTables: NewTables;
  /** Where partitioned tables are captured as one; else null. */
  readonly partitions: PartitionBook | null;
  /** null: profile `lossless`. */
  readonly debezium: DebeziumParts | null;
  readonly loaded: LoadedTables;
}

/**
 * Topics are asked for first, for a slot keeps WAL until they are there; then publication, event triggers and slot, in this order: whatever a slot has
 * was published, and told of where it was altered.
 */
export async function beginCapture(
  parts: ProducerParts,
  history: FoundHistory,
  closers: Closers,
  signal: AbortSignal,
): Promise<BegunCapture> {
  const { config, ground } = parts;
  const { client, wanted, manifests, written, isPlanned } = history;
  const before = await findAnnounced(parts.reader, manifests);
  const tableTopics = openTopics(parts, closers, signal);
  const haveTopics = async (tables: readonly TableStructure[]): Promise<void> =>
    isPlanned ? parts.ensureTopics(tables) : tableTopics.begin(tables);
  await haveTopics(wanted);
  const capturedOf = (tables: readonly TableStructure[], load: AnnouncedLoad | null): TableStructure[] =>
    tables.filter((table) => !isPlanned || written.hasTopic(table.topic) || load?.tables.has(tableKey(table)) === true);
  const published = await publish(parts, client, capturedOf(wanted, before), !isPlanned);
  // Before the slot is there, so that whatever the stream has was told of.
  const trigger = config.source.ddlTrigger === 'off' ? null : await makeTrigger(parts, client);
  const born = await haveSlot(parts, history, closers);
  if (born === null) await requireSameHistory({ ...parts, client, last: manifests.last }, signal);
  const announced = born === null ? before : await findAnnounced(parts.reader, manifests);
  // A slot waits for running transactions: what they altered meanwhile is in its snapshot.
  const there = capturedOf(born === null ? wanted : await findTables(config, client), announced);
  // A table that came meanwhile is in the snapshot, and none of its changes in the stream: it is left to come as a new one.
  const chosen = isPlanned ? there : await keepPublished(client, config.source.publication, there, published);
  const debezium = await openDebezium(parts, manifests);
  const loaded = new LoadedTables();
  const learnt = debezium === null ? null : loaded;
  const begun = announced?.isOfAll === false ? chosen.filter((table) => announced.tables.has(tableKey(table))) : chosen;
  const newestOf = (topic: string): TableStructure | null => written.newestOf(topic);
  const unfinished = await findUnfinished(parts.reader, manifests, begun, newestOf, learnt);
  const captured = new Set(chosen.map(({ topic }) => topic));
  const newTables = watchNewTables(parts, client, captured, written);
  const isByRoot = config.source.partitions === 'roots';
  const partitions = isByRoot ? await PartitionBook.open(client, chosen, written, config.source.onRewrite) : null;
  if (born !== null) await haveTopics(chosen);
  await ground.remember(client, chosen, isPlanned ? [...captured] : []);
  const isDdlTold = trigger === 'there' || (trigger === 'made' && born !== null);
  const loading = { born, announced, unfinished, tableTopics, newTables, loaded };
  return { chosen, captured, isDdlTold, partitions, debezium, ...loading };
}

/** Returns what the publication is then. */
async function publish(
  { config, failpoints, logger }: ProducerParts,
  client: pg.Client,
  tables: readonly TableStructure[],
  isFirst: boolean,
): ReturnType<typeof readPublicationFacts> {
  const { publication } = config.source;
  failpoints.hit('producer.publication.before');
  const ensured = await ensurePublication(client, tables, { name: publication, pipeline: config.name, isFirst });
  if (ensured.isMade) logger.info({ publication }, 'publication made');
  const facts = await readPublicationFacts(client, publication, ensured.tables);
  failpoints.hit('producer.publication.after');
  return facts;
}

/** null: there are none. */
async function makeTrigger({ failpoints, logger }: ProducerParts, client: pg.Client): Promise<'there' | 'made' | null> {
  failpoints.hit('producer.ddlTrigger.before');
  const trigger = await ensureDdlTrigger(client);
  failpoints.hit('producer.ddlTrigger.after');
  if (trigger === 'made') logger.info('event triggers made, which tell of ALTER TABLE and ALTER TYPE in the stream');
  else if (trigger !== 'there')
    logger.info(
      { reason: trigger.refused },
      'no event trigger tells of DDL: tables are followed with their next changes, rewrites too (docs/ddl.md)',
    );
  return typeof trigger === 'string' ? trigger : null;
}

/** One that was given up is made good for by a load of what was captured. */
async function haveSlot(
  { config, writer, application, connectReplication, failpoints, logger }: ProducerParts,
  { client, manifests: book, wanted, written }: FoundHistory,
  closers: Closers,
): Promise<BornSlot | null> {
  const { source } = config;
  const options = { client, connectReplication, source, application, writer, book, failpoints };
  const isRepaired = book.last?.released === true;
  if (isRepaired) logger.warn('the slot was given up: a new one is made, and every table is loaded anew');
  const known = wanted.filter(({ topic }) => written.hasTopic(topic));
  const born = isRepaired ? await repairSlot(options, known) : await ensureSlot(options);
  if (born !== null) closers.add(() => born.session.end());
  return born;
}

/** Of the first load. */
function openTopics(
  { ground, makeTopics, failpoints }: ProducerParts,
  closers: Closers,
  signal: AbortSignal,
): TableTopics {
  const topics = new TableTopics({
    make: makeTopics,
    signal,
    remember: async (made) => {
      failpoints.hit('producer.tableTopics.before');
      await ground.rememberTopics(made);
      failpoints.hit('producer.tableTopics.after');
    },
  });
  closers.add(() => topics.close());
  return topics;
}
