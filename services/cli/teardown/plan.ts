import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { deleteSubject, listSubjects } from '#adapters/registry/schema-registry.ts';
import type { Config } from '#core/config.ts';
import { exitCodeOf, type ExitCode } from '#core/error-policy.ts';
import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { isReserved, openKafkaPart } from './kafka-part.ts';
import type { Kept, Part, Piece } from './piece.ts';
import { openSourcePart } from './source-part.ts';
import { openTargetPart } from './target-part.ts';

export interface PlanOptions {
  /** Also what a journal still needs. */
  readonly isForced: boolean;
  /** Subjects of the registry go too. */
  readonly withRegistry: boolean;
}

/** Everything that a pipeline has, and what could not be asked. */
export interface Plan extends Part {
  /** Of what could not be asked: 0 for none. */
  readonly code: ExitCode;
}

/** Targets first, then the source's slot, what the registry has by the names of topics, then Kafka: what is left by a call that was cut short is found by the next. */
export async function makePlan(config: Config, options: PlanOptions, logger: Logger): Promise<Plan> {
  const parts: Part[] = [];
  const kept: Kept[] = [];
  let code: ExitCode = 0;
  const open = async (place: string, part: () => Promise<Part>): Promise<Part[]> => {
    try {
      return [await part()];
    } catch (error) {
      code ||= exitCodeOf(error);
      kept.push({ kind: 'everything', name: config.name, place, why: describeError(error) });
      return [];
    }
  };
  for (const target of config.targets)
    parts.push(...(await open(`target ${target.name}`, () => openTargetPart(config, target, options.isForced))));
  parts.push(...(await open('source', () => openSourcePart(config, options.isForced))));
  const tables = await tableTopics(config);
  const kafka = await open('kafka', () => openKafkaPart(config, tables, logger));
  if (config.kafka.registryUrl != null) {
    const topics = kafka.flatMap(({ pieces }) => pieces.filter(({ kind }) => kind === 'topic'));
    const named = new Set([...tables, ...topics.map(({ name }) => name)]);
    parts.push(...(await open('registry', () => openRegistryPart(config, named, options))));
  }
  parts.push(...kafka);
  return {
    pieces: parts.flatMap((part) => part.pieces),
    kept: [...kept, ...parts.flatMap((part) => part.kept)],
    active: parts.flatMap((part) => part.active),
    code,
    close: async () => void (await Promise.allSettled(parts.map((part) => part.close()))),
  };
}

/** Of the tables that the source has now: an early crash may have made topics that nothing in Kafka names. */
async function tableTopics(config: Config): Promise<string[]> {
  try {
    const client = await connectPg({
      url: config.source.url,
      purpose: 'source',
      application: `restage ${config.name} teardown`,
    });
    try {
      return (await readChosenTables(client, config)).map(({ topic }) => topic);
    } finally {
      await client.end();
    }
  } catch {
    // Said of the source itself; or none of its tables is there any more.
    return [];
  }
}

/** Subjects of these topics, and of those with reserved names: their topics may be gone since a call without --registry. */
async function openRegistryPart(config: Config, topics: ReadonlySet<string>, options: PlanOptions): Promise<Part> {
  const url = config.kafka.registryUrl ?? '';
  const isOwn = (topic: string): boolean => topics.has(topic) || isReserved(config.name, topic);
  const subjects = (await listSubjects(url)).filter((subject) => isOwn(subject.replace(/-(key|value)$/, '')));
  const pieces = subjects.map((name): Piece => ({
    kind: 'subject',
    name,
    place: 'registry',
    remove: () => deleteSubject(url, name),
  }));
  const kept = subjects.map((name): Kept => ({
    kind: 'subject',
    name,
    place: 'registry',
    why: 'goes with --registry',
  }));
  const isWanted = options.withRegistry;
  return { pieces: isWanted ? pieces : [], kept: isWanted ? [] : kept, active: [], close: () => Promise.resolve() };
}
