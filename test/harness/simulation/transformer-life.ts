import { pino } from 'pino';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { printRules } from '#core/rules/rules-print.ts';
import { newStatus } from '#core/status.ts';
import { parseStructureRecord, structureId } from '#core/structure-record.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { LetterCommands } from '../../../services/cli/letter-commands.ts';
import { EventShaper } from '../../../services/transformer/event-shaper.ts';
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

const OUTPUT = { name: 'main', version: 1, rules: [RENAME] };

/** One life over what the raw topics hold now: true when it passed everything on, false when it died. */
export async function transformerLife(kafka: MemoryKafka, { fates }: Schedule): Promise<boolean> {
  const ended = new AbortController();
  const reader = kafka.reader(RAW, () => ended.abort());
  const written = kafka.values(schemasTopic(SHAPED)).flatMap((value) => parseStructureRecord(value) ?? []);
  const options = {
    reader,
    rules: [RENAME],
    rawSchemasTopic: schemasTopic(RAW),
    shapedPrefix: SHAPED,
    shapedSchemasTopic: schemasTopic(SHAPED),
    written: new Set(written.map(structureId)),
  };
  try {
    await transform(
      {
        output: OUTPUT,
        shapedPrefix: SHAPED,
        rules: { print: printRules(OUTPUT, null), areAccepted: false },
        rawSchemasTopic: schemasTopic(RAW),
        reader,
        writer: kafka.writer(SHAPED, fates, () => undefined),
        ahead: reader,
        makeQuarantine: idleQuarantine,
        makeShaper: () => Promise.resolve(new EventShaper(options, kafka.values(schemasTopic(RAW)))),
        ensureTopics: () => Promise.resolve(),
        ensureSideTopics: () => Promise.resolve(),
        status: newStatus('transformer', 'main'),
        gate: { isPaused: false, whenRunning: () => Promise.resolve() },
        letters: new LetterCommands(() => Promise.resolve()),
        logger: pino({ level: 'silent' }),
        clock: () => 0,
      },
      ended.signal,
    );
    return true;
  } catch (error) {
    if (error instanceof Death) return false;
    throw error;
  }
}
