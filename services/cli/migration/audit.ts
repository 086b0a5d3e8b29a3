import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { appendRecord, readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { hasJournal, noteInJournal, readJournal } from '#adapters/postgres/migration/migration-journal.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { parseWaitingNote, type Action, type Evidence, type WaitingNote } from '#core/migration/journal.ts';
import { journalTopic } from '#core/topic-names.ts';
import { openControlPool } from '../control-topic.ts';
import { connectTarget } from '../target-checkpoint.ts';
import { whoAmI } from './operator.ts';

/** What is done, and with what. Never a row's value (invariant 8). */
export interface Acted {
  readonly action: Action;
  readonly with: Evidence;
}

/**
 * A command in the audit of every target that it means, each with its own chain. Where a target cannot be written to, the note waits in
 * Kafka, and the next operator takes it in. What can be noted nowhere is said, and keeps nobody from acting.
 */
export async function noteAction(
  config: Config,
  targets: readonly TargetConfig[],
  acted: Acted,
  logger: Logger,
  where: 'everywhere' | 'where a journal is' = 'everywhere',
): Promise<void> {
  if ((config.source.debezium ?? null) !== null) return;
  const note: WaitingNote = { id: randomUUID(), at: new Date().toISOString(), by: whoAmI(), ...acted };
  await Promise.all(targets.map((target) => noteAt(config, target, note, logger, where)));
}

async function noteAt(
  config: Config,
  target: TargetConfig,
  note: WaitingNote,
  logger: Logger,
  where: 'everywhere' | 'where a journal is',
): Promise<void> {
  try {
    const client = await connectTarget(config, target);
    try {
      if (where === 'everywhere' || (await hasJournal(client))) await append(client, config.name, note);
    } finally {
      await client.end();
    }
  } catch (error) {
    if (where !== 'everywhere') return;
    if (error instanceof RestageError && error.code === 'state_damaged') throw error;
    try {
      await leaveInKafka(config, target, note, logger);
    } catch (err) {
      logger.warn({ err, target: target.name }, `${note.action} is in no audit: neither target nor Kafka took it`);
    }
  }
}

async function append(client: pg.ClientBase, pipeline: string, note: WaitingNote): Promise<void> {
  const { at, by, id, action } = note;
  await noteInJournal(client, pipeline, { kind: 'acted', action, with: note.with, id }, { at, by });
}

function waitingKey(target: string, id: string): string {
  return `waiting/${target}/${id}`;
}

async function leaveInKafka(config: Config, target: TargetConfig, note: WaitingNote, logger: Logger): Promise<void> {
  const topic = journalTopic(config.name);
  const pool = openControlPool(config, logger);
  try {
    await ensureTopics(pool, [topic], { replicationFactor: config.kafka.replicationFactor });
    await appendRecord(pool, topic, waitingKey(target.name, note.id), JSON.stringify(note));
  } finally {
    await pool.close();
  }
}

/** Notes that wait for this target go into its chain, with their own time and author; each once, whatever happens in between. */
export async function takeWaitingNotes(config: Config, target: TargetConfig, logger: Logger): Promise<void> {
  const topic = journalTopic(config.name);
  const pool = openControlPool(config, logger);
  try {
    if (!(await pool.isThere(topic))) return;
    const waiting = [...(await readCompacted(pool, topic))].flatMap(([key, value]) => {
      const note = key.startsWith(waitingKey(target.name, '')) ? parseWaitingNote(value.toString()) : null;
      return note === null ? [] : [{ key, note }];
    });
    if (waiting.length === 0) return;
    const client = await connectTarget(config, target);
    try {
      const known = new Set(
        (await readJournal(client, config.name)).flatMap(({ entry }) => (entry.kind === 'acted' ? [entry.id] : [])),
      );
      for (const { key, note } of waiting) {
        if (!known.has(note.id)) await append(client, config.name, note);
        await appendRecord(pool, topic, key, null);
      }
    } finally {
      await client.end();
    }
  } finally {
    await pool.close();
  }
}
