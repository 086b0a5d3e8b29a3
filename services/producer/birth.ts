import type pg from 'pg';
import {
  createSlot,
  dropSlot,
  endStaleWalsender,
  readSlot,
  type CreatedSlot,
  type SlotState,
} from '#adapters/postgres/source/slot.ts';
import { flushedLsn } from '#adapters/postgres/source/source-identity.ts';
import type { SourceConfig } from '#core/config.ts';
import type { EpochWriter } from '#core/epoch-writer.ts';
import { RestageError } from '#core/errors.ts';
import type { Failpoints } from '#core/failpoints.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { ManifestBook } from './manifest-book.ts';

export interface SlotOptions {
  readonly client: pg.Client;
  /** Opens the walsender session that makes the slot and exports its snapshot. */
  readonly connectReplication: () => Promise<pg.Client>;
  readonly source: SourceConfig;
  readonly application: string;
  readonly writer: EpochWriter;
  readonly book: ManifestBook;
  readonly failpoints: Failpoints;
}

/** A new slot and the session that exports its snapshot. */
export interface BornSlot extends CreatedSlot {
  readonly session: pg.Client;
}

/**
 * Sees to it that the slot is there and is the one that Kafka's history tells of. Birth: intent → slot → origin, so that a
 * crash between leaves a trace that explains the slot. Returns the new slot, or null where an old one goes on.
 * @throws RestageError slot_foreign, slot_missing, slot_ahead: never dropped or made again where data would be lost.
 */
export async function ensureSlot(options: SlotOptions): Promise<BornSlot | null> {
  const { client, source, book, application, failpoints } = options;
  await endStaleWalsender(client, source.slot, application);
  const slot = await readSlot(client, source.slot);
  requireOwnSlot(source.slot, slot, book.last);
  const kind = book.last?.kind;
  if (kind === undefined) await write(options, 'intent');
  else if (kind !== 'intent') return null;
  else if (slot !== null) {
    failpoints.hit('producer.slotDrop.before');
    await dropSlot(client, source.slot);
    failpoints.hit('producer.slotDrop.after');
  }
  return makeSlot(options);
}

/**
 * Compares a slot with the last manifest in Kafka; changes nothing.
 * @throws RestageError slot_foreign when no manifest explains it, slot_missing, slot_ahead.
 */
export function requireOwnSlot(name: string, slot: SlotState | null, last: Manifest | null): void {
  if (last === null) {
    if (slot !== null) throw foreignSlot(name, 'and no manifest in this Kafka explains it');
    return;
  }
  const through = parseLsn(last.through);
  if (last.released === true) return;
  if (last.kind === 'intent') {
    if (slot !== null && slot.confirmed !== null && slot.confirmed < through)
      throw foreignSlot(name, 'and is older than this pipeline');
    return;
  }
  if (slot === null || slot.isLost) {
    throw new RestageError(
      'slot_missing',
      slot === null
        ? 'the replication slot is gone'
        : `the server gave the replication slot up${slot.lostFor === null ? '' : `: ${slot.lostFor}`}`,
      {
        where: `slot ${name}, Kafka has everything up to ${last.through}`,
        fix: 'changes since then may be lost: start the pipeline anew under another name; keep max_slot_wal_keep_size and idle_replication_slot_timeout large enough',
      },
    );
  }
  if (slot.plugin !== 'pgoutput') throw foreignSlot(name, `and uses the plug-in ${slot.plugin ?? 'none'}`);
  if (slot.confirmed !== null && slot.confirmed > through) {
    throw new RestageError('slot_ahead', 'the replication slot was moved or made again by someone else', {
      where: `slot ${name} is at ${formatLsn(slot.confirmed)}, Kafka has everything up to ${last.through}`,
      fix: 'the changes between are lost to this pipeline: start it anew under another name',
    });
  }
}

/** The same, as a question. */
export function isOwnSlot(name: string, slot: SlotState | null, last: Manifest | null): boolean {
  try {
    requireOwnSlot(name, slot, last);
    return true;
  } catch {
    return false;
  }
}

/** The slot, then the manifest that says where it begins. */
export async function makeSlot(options: SlotOptions): Promise<BornSlot> {
  const session = await options.connectReplication();
  try {
    options.failpoints.hit('producer.slot.before');
    const slot = await createSlot(session, options.source.slot, 'permanent');
    options.failpoints.hit('producer.slot.after');
    const point = formatLsn(slot.consistentPoint);
    const draft = options.book.draft('origin', { through: point, snapshot: point });
    options.book.note(await options.writer.write(draft, []));
    return { ...slot, session };
  } catch (error) {
    await session.end().catch(() => undefined);
    throw error;
  }
}

async function write(options: SlotOptions, kind: 'intent'): Promise<void> {
  const through = formatLsn(await flushedLsn(options.client));
  options.book.note(await options.writer.write(options.book.draft(kind, { through }), []));
}

function foreignSlot(name: string, why: string): RestageError {
  return new RestageError('slot_foreign', `a replication slot of this name is there already, ${why}`, {
    where: `slot ${name}`,
    fix: `if kafka.brokers names another Kafka than before, correct it; if nobody uses the slot: SELECT pg_drop_replication_slot('${name.replaceAll("'", "''")}'); else give this pipeline another name or source.slot`,
  });
}
