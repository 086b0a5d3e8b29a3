import { converterFactory } from '#adapters/registry/converters.ts';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { createKafkaEpochWriter } from '#adapters/kafka/epoch-writer.ts';
import { createGroupLease } from '#adapters/kafka/group-lease.ts';
import { readCompacted, readDecided } from '#adapters/kafka/keyed-topic.ts';
import { TopicGround } from '#adapters/kafka/topic-ground.ts';
import { listTopics } from '#adapters/kafka/topic-list.ts';
import { untilDecided } from '#adapters/kafka/offsets.ts';
import { ensureTopics, ROW_SEGMENT_BYTES } from '#adapters/kafka/topics.ts';
import { openModule } from '#adapters/module/open-module.ts';
import { openLevelStore } from '#adapters/state/level-store.ts';
import type { Config, OutputConfig } from '#core/config.ts';
import type { ServiceContext } from '#core/control.ts';
import { RestageError } from '#core/errors.ts';
import { ModuleStage } from '#core/module/module-stage.ts';
import { OutboxTopics } from '#core/outbox/outbox-topics.ts';
import { findOutput, outputRef } from '#core/output-ref.ts';
import { printRules } from '#core/rules/rules-print.ts';
import { needsState, RuleMemory } from '#core/rules/rule-memory.ts';
import { RuleState } from '#core/rules/rule-state.ts';
import { isShaping } from '#core/rules/table-rules.ts';
import { findStructures, structureId } from '#core/structure-record.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';
import { supervise } from '#core/supervise.ts';
import { epochsTopic, schemasTopic, shapedPrefix, statePrefix, waitingTopic } from '#core/topic-names.ts';
import { parseWaitingLetter } from '#core/waiting-letter.ts';
import { waitingReader } from '#core/waiting-reader.ts';
import { whileGuarded } from '#core/while-guarded.ts';
import { VERSION } from '#core/version.ts';
import { DebeziumShaper } from './debezium-shaper.ts';
import { EventShaper } from './event-shaper.ts';
import { HeldLetters } from './held-letters.ts';
import { KeptState } from './kept-state.ts';
import { ModuleQueue } from './module-queue.ts';
import { OutboxWriter } from './outbox-writer.ts';
import { OutputQuarantine } from './output-quarantine.ts';
import { readLetter } from './read-letter.ts';
import { transform, type TransformerParts } from './transformer.ts';

const TRANSACTION_TIMEOUT_MS = 60_000;

/** The transformer of one output: `<name>.*` → `<name>.shaped.<output>.v<N>.*`, one active instance by group membership. */
export async function main(
  config: Config,
  outputName: string,
  context: ServiceContext,
  { acceptsRules = false }: { readonly acceptsRules?: boolean } = {},
): Promise<void> {
  const { logger, status, signal, gate, failpoints } = context;
  const output = findOutput(config.outputs, outputName);
  if (output === undefined)
    throw new RestageError('usage', `there is no output ${JSON.stringify(outputName)}`, { where: config.file });
  const raw = config.name;
  const shaped = shapedPrefix(raw, output.name, output.version);
  const remembered = statePrefix(raw, output.name, output.version);
  const id = `${raw}.transformer.${output.name}.v${output.version}`;
  const pool = createConnectionPool(config.kafka, { clientId: id, logger });
  const lease = createGroupLease({ pool, group: id, logger });
  const { replicationFactor } = config.kafka;
  try {
    await supervise({ status, logger, signal, lease, clock: Date.now }, async () => {
      const grounds = { pool, logger, clock: Date.now };
      const rawGround = await TopicGround.open({ ...grounds, prefix: raw });
      const shapedGround = await TopicGround.open({ ...grounds, prefix: shaped });
      failpoints.hit('transformer.topics.before');
      await ensureTopics(pool, [epochsTopic(raw), epochsTopic(shaped)], { replicationFactor });
      await ensureTopics(pool, [schemasTopic(raw), schemasTopic(shaped)], { replicationFactor, compacted: true });
      failpoints.hit('transformer.topics.after');
      await lease.acquire(signal, () => (status.state = 'standby'));
      if (status.state === 'standby') status.state = 'starting';
      const held = AbortSignal.any([signal, lease.lost]);
      await rawGround.adopt([]);
      await shapedGround.remember([], null);
      const writer = createKafkaEpochWriter({
        pool,
        prefix: shaped,
        transactionalId: id,
        transactionTimeoutMs: TRANSACTION_TIMEOUT_MS,
        logger,
        failpoints,
        service: 'transformer',
      });
      const reader = waitingReader(createKafkaEpochReader({ pool, prefix: raw, logger }), context.waits);
      const ahead = createKafkaEpochReader({ pool, prefix: raw, logger });
      const module = output.module == null ? null : await openModule(output.module, config.file);
      try {
        const parts: TransformerParts = {
          output,
          shapedPrefix: shaped,
          rawSchemasTopic: schemasTopic(raw),
          reader,
          ahead,
          writer,
          rules: { print: printRules(output, module?.code ?? null), areAccepted: acceptsRules },
          status,
          gate,
          letters: context.letters,
          logger,
          clock: Date.now,
          ensureTopics: async (topics) => {
            failpoints.hit('transformer.outputTopics.before');
            await ensureTopics(pool, topics, { replicationFactor });
            await shapedGround.remember(topics, null);
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
          makeShaper: async () => {
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
          },
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
        await whileGuarded(
          held,
          async (until) => void (await Promise.all([rawGround.watch(until), shapedGround.watch(until)])),
          (until) => transform(parts, until),
        );
      } finally {
        await Promise.all([writer.close(), reader.close(), ahead.close(), module?.close()]);
      }
      if (lease.lost.aborted && !signal.aborted) throw new RestageError('lease_lost', 'the transformer lost its lease');
    });
  } finally {
    await lease.release();
    await pool.close();
  }
}

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
