import { pino } from 'pino';
import type { OutputConfig } from '#core/config.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { printRules } from '#core/rules/rules-print.ts';
import { newStatus } from '#core/status.ts';
import { parseStructureRecord, structureId } from '#core/structure-record.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { LetterCommands } from '../../../services/cli/letter-commands.ts';
import { EventShaper } from '../../../services/transformer/event-shaper.ts';
import { joinLanes } from '../../../services/transformer/joiner.ts';
import { laneReader } from '../../../services/transformer/lane-reader.ts';
import { transform } from '../../../services/transformer/transformer.ts';
import { idleQuarantine } from '../idle-quarantine.ts';
import type { Schedule } from './choices.ts';
import { Death, type MemoryKafka } from './memory-kafka.ts';
import { RAW } from './tables.ts';

export const SHAPED = 'sim.shaped.main.v1';

const RENAME: RuleConfig = {
  table: { schema: 'public', table: 't0' },
  rename: { schema: 'public', table: 'renamed' },
  renameColumns: new Map([['v', 'value']]),
  dropColumns: [],
  where: null,
};

const OUTPUT: OutputConfig = { name: 'main', version: 1, rules: [RENAME] };

/** One life over what the raw topics hold now: true when it passed everything on, false when it died. */
export function transformerLife(kafka: MemoryKafka, schedule: Schedule): Promise<boolean> {
  return shape(kafka, schedule, null);
}

/** The same of a lane. */
export function laneLife(kafka: MemoryKafka, schedule: Schedule, lane: number): Promise<boolean> {
  return shape(kafka, schedule, lane);
}

/** One life of the one who puts together what lanes made, as far as all of them have come. */
export async function joinerLife(kafka: MemoryKafka, { fates }: Schedule): Promise<boolean> {
  const ended = new AbortController();
  const lanes = Array.from({ length: kafka.partitions }, (_, lane) =>
    kafka.reader({ prefix: SHAPED, lane }, () => ended.abort()),
  );
  return survives(() =>
    joinLanes(
      {
        lanes,
        writer: kafka.writer(SHAPED, fates, () => undefined),
        remember: () => Promise.resolve(),
        onJoined: () => undefined,
        status: newStatus('transformer', 'main'),
        gate: GATE,
        clock: () => 0,
      },
      ended.signal,
    ),
  );
}

const GATE = { isPaused: false, whenRunning: () => Promise.resolve() };

async function survives(life: () => Promise<void>): Promise<boolean> {
  try {
    await life();
    return true;
  } catch (error) {
    if (error instanceof Death) return false;
    throw error;
  }
}

function shape(kafka: MemoryKafka, { fates }: Schedule, lane: number | null): Promise<boolean> {
  const ended = new AbortController();
  const all = kafka.reader(RAW, () => ended.abort());
  const reader = lane === null ? all : laneReader(all, lane, schemasTopic(RAW));
  const written = kafka.values(schemasTopic(SHAPED)).flatMap((value) => parseStructureRecord(value) ?? []);
  const output: OutputConfig = lane === null ? OUTPUT : { ...OUTPUT, ordering: 'key' };
  const options = {
    reader,
    rules: [RENAME],
    rawSchemasTopic: schemasTopic(RAW),
    shapedPrefix: SHAPED,
    shapedSchemasTopic: schemasTopic(SHAPED),
    written: new Set(written.map(structureId)),
    partitions: kafka.partitions,
    lane: lane ?? undefined,
  };
  return survives(() =>
    transform(
      {
        output,
        shapedPrefix: SHAPED,
        rules: { print: printRules(output, null), areAccepted: false },
        rawSchemasTopic: schemasTopic(RAW),
        reader,
        writer: kafka.writer(lane === null ? SHAPED : { prefix: SHAPED, lane }, fates, () => undefined),
        ahead: reader,
        makeQuarantine: idleQuarantine,
        makeShaper: () => Promise.resolve(new EventShaper(options, kafka.values(schemasTopic(RAW)))),
        ensureTopics: () => Promise.resolve(),
        ensureSideTopics: () => Promise.resolve(),
        status: newStatus('transformer', 'main'),
        gate: GATE,
        letters: new LetterCommands(() => Promise.resolve()),
        logger: pino({ level: 'silent' }),
        clock: () => 0,
      },
      ended.signal,
    ),
  );
}
