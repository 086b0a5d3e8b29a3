import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { deleteSubject, listSubjects } from '#adapters/registry/schema-registry.ts';
import type { Config } from '#core/config.ts';
import { exitCodeOf, type ExitCode } from '#core/error-policy.ts';
import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { openKafkaPart } from './kafka-part.ts';
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

/** Targets first, then the source's slot, then Kafka: what is left by a call that was cut short is found by the next. */
export async function makePlan(config: Config, options: PlanOptions, logger: Logger): Promise<Plan> {
  const parts: Part[] = [];
  const kept: Kept[] = [];
  let code: ExitCode = 0;
  const add = async (place: string, open: () => Promise<Part>): Promise<void> => {
    try {
      parts.push(await open());
    } catch (error) {
      code ||= exitCodeOf(error);
      kept.push({ kind: 'everything', name: config.name, place, why: describeError(error) });
    }
  };
  for (const target of config.targets)
    await add(`target ${target.name}`, () => openTargetPart(config, target, options.isForced));
  await add('source', () => openSourcePart(config));
  const topics = await tableTopics(config);
  await add('kafka', () => openKafkaPart(config, topics, logger));
  if (config.kafka.registryUrl != null) await add('registry', () => openRegistryPart(config, parts, options));
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

async function openRegistryPart(config: Config, parts: readonly Part[], options: PlanOptions): Promise<Part> {
  const url = config.kafka.registryUrl ?? '';
  const topics = new Set(
    parts.flatMap((part) => part.pieces.filter(({ kind }) => kind === 'topic').map(({ name }) => name)),
  );
  const subjects = (await listSubjects(url)).filter((subject) => topics.has(subject.replace(/-(key|value)$/, '')));
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
