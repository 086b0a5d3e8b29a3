import { converterFactory } from '#adapters/registry/converters.ts';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { createKafkaEpochWriter } from '#adapters/kafka/epoch-writer.ts';
import { readCompacted, readDecided } from '#adapters/kafka/keyed-topic.ts';
import { TopicGround } from '#adapters/kafka/topic-ground.ts';
import { listTopics } from '#adapters/kafka/topic-list.ts';
import { untilDecided } from '#adapters/kafka/offsets.ts';
import { ensureTopics, ROW_SEGMENT_BYTES } from '#adapters/kafka/topics.ts';
import { openModule } from '#adapters/module/open-module.ts';
import { openLevelStore } from '#adapters/state/level-store.ts';
import type { Config, OutputConfig } from '#core/config.ts';
import type { ServiceContext } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { EpochWriter } from '#core/epoch-writer.ts';
import { RestageError } from '#core/errors.ts';
import type { Lease } from '#core/lease.ts';
import type { LetterGate } from '#core/letter-command.ts';
import { ModuleStage } from '#core/module/module-stage.ts';
import { OutboxTopics } from '#core/outbox/outbox-topics.ts';
import { outputRef } from '#core/output-ref.ts';
import type { ServiceStatus } from '#core/status.ts';
import { printRules } from '#core/rules/rules-print.ts';
import { needsState, RuleMemory } from '#core/rules/rule-memory.ts';
import { RuleState } from '#core/rules/rule-state.ts';
import { isShaping } from '#core/rules/table-rules.ts';
import { findStructures, structureId } from '#core/structure-record.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';
import { epochsTopic, schemasTopic, shapedPrefix, sharesTopic, statePrefix, waitingTopic } from '#core/topic-names.ts';
import { parseWaitingLetter } from '#core/waiting-letter.ts';
import { waitingReader } from '#core/waiting-reader.ts';
import { whileGuarded } from '#core/while-guarded.ts';
import { VERSION } from '#core/version.ts';
import { DebeziumShaper } from './debezium-shaper.ts';
import { EventShaper } from './event-shaper.ts';
import { HeldLetters } from './held-letters.ts';
import { KeptState } from './kept-state.ts';
import { laneReader } from './lane-reader.ts';
import { ModuleQueue } from './module-queue.ts';
import { OutboxWriter } from './outbox-writer.ts';
import { OutputQuarantine } from './output-quarantine.ts';
import { readLetter } from './read-letter.ts';
import { transform } from './transformer.ts';
import type { TransformerParts } from './transformer-parts.ts';

export const TRANSACTION_TIMEOUT_MS = 60_000;

/** The transformer of one output, or a lane of it. */
export interface OutputWork {
  readonly config: Config;
  readonly output: OutputConfig;
  readonly context: ServiceContext;
  readonly status: ServiceStatus;
  readonly pool: ConnectionPool;
  readonly acceptsRules: boolean;
  /** The partition that this one shapes beside others; null: all of them, in the order of transactions. */
  readonly lane: number | null;
}

export interface OutputNames {
  /** Prefixes of topics: those that it reads, those that it writes, and what its rules remember. */
  readonly raw: string;
  readonly shaped: string;
  readonly remembered: string;
  /** Of the group and the transactions of whoever writes its `.epochs`. */
  readonly id: string;
}

export function outputNames(config: Config, { name, version }: OutputConfig): OutputNames {
  const raw = config.name;
  return {
    raw,
    shaped: shapedPrefix(raw, name, version),
    remembered: statePrefix(raw, name, version),
    id: `${raw}.transformer.${name}.v${version}`,
  };
}

export function laneId({ id }: OutputNames, lane: number): string {
  return `${id}.lane.${lane}`;
}

export interface OutputGrounds {
  readonly raw: TopicGround;
  readonly shaped: TopicGround;
}

/** What the output stands on, and the topics that are there before any table's. */
export async function openGrounds({ config, output, context, pool }: OutputWork): Promise<OutputGrounds> {
  const { logger, failpoints } = context;
  const { raw, shaped } = outputNames(config, output);
  const { replicationFactor, partitions = 1 } = config.kafka;
  const options = { pool, partitions, logger, clock: Date.now };
  const grounds = {
    raw: await TopicGround.open({ ...options, prefix: raw }),
    shaped: await TopicGround.open({ ...options, prefix: shaped }),
  };
  failpoints.hit('transformer.topics.before');
  await ensureTopics(pool, [epochsTopic(raw), epochsTopic(shaped)], { replicationFactor });
  await ensureTopics(pool, [schemasTopic(raw), schemasTopic(shaped)], { replicationFactor, compacted: true });
  if (output.ordering === 'key') await ensureTopics(pool, [sharesTopic(shaped)], { replicationFactor, partitions });
  failpoints.hit('transformer.topics.after');
  return grounds;
}

/** Waits for the lease as any stand-by does; aborted when it is lost, or a drain is asked for. */
export async function holdLease(lease: Lease, status: ServiceStatus, signal: AbortSignal): Promise<AbortSignal> {
  await lease.acquire(signal, () => (status.state = 'standby'));
  if (status.state === 'standby') status.state = 'starting';
  return AbortSignal.any([signal, lease.lost]);
}

/** One attempt. */
export async function shapeOutput(work: OutputWork, lease: Lease, signal: AbortSignal): Promise<void> {
  const { config, output, context, status, pool, lane } = work;
  const names = outputNames(config, output);
  const { raw, shaped } = names;
  const { logger, failpoints } = context;
  const grounds = await openGrounds(work);
  const held = await holdLease(lease, status, signal);
  await grounds.raw.adopt([]);
  // Of a lane's topics the one who puts lanes together keeps the record.
  if (lane === null) await grounds.shaped.remember([], null);
  else await grounds.shaped.adopt([]);
  const writer = createKafkaEpochWriter({
    pool,
    prefix: shaped,
    ...(lane === null ? {} : { manifests: { topic: sharesTopic(shaped), partition: lane } }),
    transactionalId: lane === null ? names.id : laneId(names, lane),
    transactionTimeoutMs: TRANSACTION_TIMEOUT_MS,
    logger,
    failpoints,
    service: 'transformer',
  });
  const all = createKafkaEpochReader({ pool, prefix: raw, logger });
  const reader = waitingReader(lane === null ? all : laneReader(all, lane, schemasTopic(raw)), context.waits);
  const ahead = createKafkaEpochReader({ pool, prefix: raw, logger });
  const module = output.module == null ? null : await openModule(output.module, config.file);
  try {
    const parts = makeParts(work, { grounds, writer, reader, ahead, module });
    await whileGuarded(
      held,
      async (until) => void (await Promise.all([grounds.raw.watch(until), grounds.shaped.watch(until)])),
      (until) => transform(parts, until),
    );
  } finally {
    await Promise.all([writer.close(), reader.close(), ahead.close(), module?.close()]);
  }
  if (lease.lost.aborted && !signal.aborted) throw new RestageError('lease_lost', 'the transformer lost its lease');
}

interface OutputTools {
  readonly grounds: OutputGrounds;
  readonly writer: EpochWriter;
  readonly reader: EpochReader;
  readonly ahead: EpochReader;
  readonly module: Awaited<ReturnType<typeof openModule>> | null;
}

function makeParts(work: OutputWork, tools: OutputTools): TransformerParts {
  const { config, output, context, status, pool, acceptsRules, lane } = work;
  const { grounds, writer, reader, ahead, module } = tools;
  const { raw, shaped, remembered } = outputNames(config, output);
  const { replicationFactor, partitions = 1 } = config.kafka;
  const { logger, failpoints, gate } = context;
  return {
    output,
    shapedPrefix: shaped,
    rawSchemasTopic: schemasTopic(raw),
    reader,
    ahead,
    writer,
    rules: { print: printRules(output, module?.code ?? null), areAccepted: acceptsRules },
    status,
    gate,
    letters: lane === null ? context.letters : NO_LETTERS,
    logger,
    clock: Date.now,
    ensureTopics: async (topics) => {
      failpoints.hit('transformer.outputTopics.before');
      await ensureTopics(pool, topics, { replicationFactor, partitions });
      if (lane === null) await grounds.shaped.remember(topics, null);
      failpoints.hit('transformer.outputTopics.after');
    },
    ensureSideTopics: async (topics) => {
      const isState = (topic: string): boolean => topic.startsWith(`${remembered}.`);
      const options = { replicationFactor, compacted: true, segmentBytes: ROW_SEGMENT_BYTES };
      await ensureTopics(pool, topics.filter(isState), options);
      await ensureTopics(
        pool,
        topics.filter((topic) => !isState(topic)),
        { replicationFactor },
      );
    },
    makeShaper: () => makeShaper(work, tools),
    makeQuarantine: async (shaper) =>
      new OutputQuarantine({
        policy: output.quarantine ?? 'stop',
        readLetter: output.laterChanges === 'pass' ? (letter, until) => readLetter(reader, letter, until) : null,
        name: raw,
        service: `transformer ${outputRef(config.outputs, output)}`,
        output: outputRef(config.outputs, output),
        topic: waitingTopic(raw, output.name, output.version),
        held: await readWaiting(config, pool, output),
        shaper,
        status,
        clock: Date.now,
      }),
  };
}

async function makeShaper(work: OutputWork, { reader, module }: OutputTools): Promise<EventShaper> {
  const { config, output, context, status, pool, lane } = work;
  const { raw, shaped, remembered } = outputNames(config, output);
  const { logger } = context;
  const written = findStructures((await readCompacted(pool, schemasTopic(shaped))).values()).map(structureId);
  const options = {
    reader,
    rules: output.rules,
    tables: output.tables,
    validations: output.validations ?? [],
    rawSchemasTopic: schemasTopic(raw),
    shapedPrefix: shaped,
    shapedSchemasTopic: schemasTopic(shaped),
    written: new Set(written),
    partitions: config.kafka.partitions ?? 1,
    lane: lane ?? undefined,
    debezium: openDebezium(config, output, shaped),
    module: module === null ? null : new ModuleQueue(new ModuleStage(module, shaped), module.declaration),
    outbox: new OutboxWriter(new OutboxTopics(raw, await findEventTopics(pool, output)), logger),
    state: needsState(output)
      ? new KeptState({
          memory: new RuleMemory(new RuleState(await openLevelStore())),
          prefix: remembered,
          reader,
          readTopic: (topic) => readDecided(pool, topic),
          status,
          logger,
          clock: Date.now,
        })
      : null,
  };
  const shaper = new EventShaper(options, (await readCompacted(pool, schemasTopic(raw))).values());
  await shaper.prepare();
  return shaper;
}

/** Nothing waits in a lane: what its rules do not take stops it. */
const NO_LETTERS: LetterGate = {
  commands: [],
  changed: new AbortController().signal,
  done: () => Promise.resolve(),
};

/** What waits, with every transaction decided that an earlier life left open. The topic is there where something may come to wait. */
async function readWaiting(config: Config, pool: ConnectionPool, output: OutputConfig): Promise<HeldLetters> {
  const topic = waitingTopic(config.name, output.name, output.version);
  const isKept = ({ onFailure }: ValidationConfig): boolean => onFailure === 'transaction' || onFailure === 'row';
  const mayGrow = (output.quarantine ?? 'stop') !== 'stop' || (output.validations ?? []).some(isKept);
  if (mayGrow)
    await ensureTopics(pool, [topic], { replicationFactor: config.kafka.replicationFactor, compacted: true });
  else if (!(await listTopics(pool)).some(({ name }) => name === topic)) return new HeldLetters();
  await untilDecided(pool, topic);
  return new HeldLetters(
    [...(await readCompacted(pool, topic)).values()].map((value) => parseWaitingLetter(value, topic)),
  );
}

/** Topics that Kafka has; none is asked for without an outbox. */
async function findEventTopics(pool: ConnectionPool, { rules }: OutputConfig): Promise<string[]> {
  return rules.every(isShaping) ? [] : (await listTopics(pool)).map(({ name }) => name);
}

/** null: profile `lossless`. */
function openDebezium(config: Config, { profile = null }: OutputConfig, prefix: string): DebeziumShaper | null {
  if (profile === null) return null;
  const converters = converterFactory(config.kafka, profile);
  return new DebeziumShaper({ prefix, version: VERSION, runId: prefix, options: profile, converters });
}
