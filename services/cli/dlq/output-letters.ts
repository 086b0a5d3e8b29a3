import { randomUUID } from 'node:crypto';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { appendRecord, follow, readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { endOffset } from '#adapters/kafka/offsets.ts';
import type { StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';
import type { Config, OutputConfig } from '#core/config.ts';
import { STATUS_STALE_MS, statusKey, parseStatusRecord } from '#core/control.ts';
import type { Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import {
  letterAnswerKey,
  letterCommandKey,
  parseLetterOutcomes,
  writeLetterCommand,
  type LetterCommand,
  type LetterOutcome,
} from '#core/letter-command.ts';
import type { Logger } from '#core/log.ts';
import { outputRef } from '#core/output-ref.ts';
import { declarationOf } from '#core/module/module-config.ts';
import { compileTable } from '#core/rules/table-rules.ts';
import { findStructures } from '#core/structure-record.ts';
import { controlTopic, schemasTopic, waitingTopic } from '#core/topic-names.ts';
import { compareLetters, parseWaitingLetter } from '#core/waiting-letter.ts';
import { joinEnvelope, splitEnvelope } from '../../transformer/envelope-text.ts';
import { readLetter } from '../../transformer/read-letter.ts';
import { ensureControlTopic } from '../control-topic.ts';

/** An output behind whose rules dead letters wait. */
export interface OpenOutput {
  readonly output: OutputConfig;
  /** As people name it, and its transformer's instance. */
  readonly ref: string;
  /** Oldest first, without bytes. */
  readonly letters: readonly StoredDeadLetter[];
}

const ANSWER_TIMEOUT_MS = 60_000;

/** Outputs that have something waiting. */
export async function readOutputs(pool: ConnectionPool, config: Config): Promise<OpenOutput[]> {
  const found: OpenOutput[] = [];
  for (const output of config.outputs) {
    const topic = waitingTopic(config.name, output.name, output.version);
    if (!(await pool.isThere(topic))) continue;
    const waiting = [...(await readCompacted(pool, topic)).values()].map((value) => parseWaitingLetter(value, topic));
    if (waiting.length === 0) continue;
    const letters = waiting.toSorted(compareLetters).map(({ slots: _slots, madeAt, ...letter }): StoredDeadLetter => ({
      ...letter,
      key: null,
      value: null,
      headers: new Map(),
      state: 'waiting',
      madeAt: new Date(madeAt),
    }));
    found.push({ output, ref: outputRef(config.outputs, output), letters });
  }
  return found;
}

/** With the bytes of its raw topic; what the output's rules mask is masked (invariant 8). @throws RestageError history_lost. */
export async function readWhole(
  pool: ConnectionPool,
  config: Config,
  output: OutputConfig,
  letters: readonly StoredDeadLetter[],
  { logger, signal }: { readonly logger: Logger; readonly signal: AbortSignal },
): Promise<StoredDeadLetter[]> {
  const structures = findStructures((await readCompacted(pool, schemasTopic(config.name))).values());
  const newest = new Map(structures.map(({ structure }) => [structure.topic, structure]));
  const captured = [...newest.values()];
  const topics = new Set(letters.map(({ topic }) => topic));
  const rules = new Map(
    captured
      .filter(({ topic }) => topics.has(topic))
      .map((one) => [one.topic, compileTable(one, output.rules, '', declarationOf(output), { captured })]),
  );
  const reader = createKafkaEpochReader({ pool, prefix: config.name, logger });
  const whole: StoredDeadLetter[] = [];
  for (const letter of letters) {
    const record = await readLetter(reader, letter, signal);
    const conceal = (row: Row): Row => rules.get(letter.topic)?.conceal(row) ?? row;
    whole.push({ ...letter, headers: record.headers, ...concealed(record, conceal) });
  }
  return whole;
}

/** A record that is no event is shown as none: nobody can say which of its bytes are a masked value. */
function concealed(
  { key, value }: { readonly key: Buffer | null; readonly value: Buffer | null },
  conceal: (row: Row) => Row,
): { readonly key: Buffer | null; readonly value: Buffer | null } {
  const mask = (row: Row | null): Row | null => (row === null ? null : conceal(row));
  try {
    const { event, tail } = splitEnvelope(value ?? Buffer.alloc(0), '');
    const images = { op: event.op, before: mask(event.before), after: mask(event.after) };
    const row = key === null ? null : (JSON.parse(key.toString('utf8')) as Row);
    return {
      key: row === null ? null : Buffer.from(JSON.stringify(mask(row))),
      value: Buffer.from(String(joinEnvelope(images, tail))),
    };
  } catch {
    return { key: null, value: null };
  }
}

/** Asks the output's transformer, which alone writes there, and waits for what became of it. @throws RestageError transient. */
export async function askTransformer(
  pool: ConnectionPool,
  config: Config,
  ref: string,
  command: Omit<LetterCommand, 'id'>,
  signal: AbortSignal,
): Promise<LetterOutcome[]> {
  await ensureControlTopic(config, pool);
  const topic = controlTopic(config.name);
  const id = randomUUID();
  const from = await endOffset(pool, topic, 'read_committed');
  await appendRecord(pool, topic, letterCommandKey(ref, id), writeLetterCommand({ ...command, id }));
  const until = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
  for await (const records of follow(pool, topic, from, until))
    for (const { key, value } of records) {
      const outcomes = key?.toString('utf8') === letterAnswerKey(id) ? parseLetterOutcomes(value) : null;
      if (outcomes === null) continue;
      await appendRecord(pool, topic, letterAnswerKey(id), null);
      return outcomes;
    }
  const isHeard = await isAtWork(pool, config, ref);
  throw new RestageError('transient', `the transformer has not done yet what it was asked for`, {
    where: `output ${ref}${isHeard ? '' : ', whose transformer is down'}`,
    fix: `${isHeard ? 'wait until its load is done' : 'start it'}: the request stays, and it obeys; restage dlq list says what waits`,
  });
}

async function isAtWork(pool: ConnectionPool, config: Config, ref: string): Promise<boolean> {
  const known = await readCompacted(pool, controlTopic(config.name));
  const value = known.get(statusKey('transformer', ref));
  const record = value === undefined ? null : parseStatusRecord(value);
  return record !== null && Date.now() - record.at < STATUS_STALE_MS;
}
