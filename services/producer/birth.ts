import type pg from 'pg';
import { createSlot, dropSlot, endStaleWalsender, readSlot, type CreatedSlot } from '#adapters/postgres/source/slot.ts';
import { currentLsn } from '#adapters/postgres/source/source-identity.ts';
import type { SourceConfig } from '#core/config.ts';
import type { EpochWriter } from '#core/epoch-writer.ts';
import { RestageError } from '#core/errors.ts';
import { formatLsn } from '#core/lsn.ts';
import type { ManifestBook } from './manifest-book.ts';

export interface SlotOptions {
  readonly client: pg.Client;
  /** Opens the walsender session that makes the slot and then keeps its snapshot. */
  readonly connectReplication: () => Promise<pg.Client>;
  readonly source: SourceConfig;
  readonly application: string;
  readonly writer: EpochWriter;
  readonly book: ManifestBook;
}

/** A new slot and the session that keeps its snapshot. */
export interface BornSlot extends CreatedSlot {
  readonly keeper: pg.Client;
}

/**
 * Sees to it that the slot is there and is the one that Kafka's history tells of. Birth: intent → slot → origin, so that a
 * crash between leaves a trace that explains the slot. Returns the new slot, or null where an old one goes on.
 * @throws RestageError slot_foreign, slot_missing, slot_ahead: never dropped or made again where data would be lost.
 */
export async function ensureSlot(options: SlotOptions): Promise<BornSlot | null> {
  const { client, source, book, application } = options;
  await endStaleWalsender(client, source.slot, application);
  const slot = await readSlot(client, source.slot);
  const kind = book.last?.kind;
  if (kind === undefined) {
    if (slot !== null) throw foreignSlot(source.slot, 'and no manifest in this Kafka explains it');
    await write(options, 'intent');
    return born(options);
  }
  if (kind === 'intent') {
    if (slot !== null) {
      if (slot.confirmed !== null && slot.confirmed < book.through)
        throw foreignSlot(source.slot, 'and is older than this pipeline');
      await dropSlot(client, source.slot);
    }
    return born(options);
  }
  if (slot === null || slot.isLost) {
    throw new RestageError(
      'slot_missing',
      slot === null ? 'the replication slot is gone' : 'the server gave the replication slot up',
      {
        where: `slot ${source.slot}, Kafka has everything up to ${formatLsn(book.through)}`,
        fix: 'changes since then may be lost: start the pipeline anew under another name; keep max_slot_wal_keep_size large enough',
      },
    );
  }
  if (slot.plugin !== 'pgoutput') throw foreignSlot(source.slot, `and uses the plug-in ${slot.plugin ?? 'none'}`);
  if (slot.confirmed !== null && slot.confirmed > book.through) {
    throw new RestageError('slot_ahead', 'the replication slot was moved or made again by someone else', {
      where: `slot ${source.slot} is at ${formatLsn(slot.confirmed)}, Kafka has everything up to ${formatLsn(book.through)}`,
      fix: 'the changes between are lost to this pipeline: start it anew under another name',
    });
  }
  return null;
}

async function born(options: SlotOptions): Promise<BornSlot> {
  const keeper = await options.connectReplication();
  try {
    const slot = await createSlot(keeper, options.source.slot, 'permanent');
    const point = formatLsn(slot.consistentPoint);
    const draft = options.book.draft('origin', { through: point, snapshot: point });
    options.book.note(await options.writer.write(draft, []));
    return { ...slot, keeper };
  } catch (error) {
    await keeper.end().catch(() => undefined);
    throw error;
  }
}

async function write(options: SlotOptions, kind: 'intent'): Promise<void> {
  const through = formatLsn(await currentLsn(options.client));
  options.book.note(await options.writer.write(options.book.draft(kind, { through }), []));
}

function foreignSlot(name: string, why: string): RestageError {
  return new RestageError('slot_foreign', `a replication slot of this name is there already, ${why}`, {
    where: `slot ${name}`,
    fix: `if nobody uses it: SELECT pg_drop_replication_slot('${name.replaceAll("'", "''")}'); else give this pipeline another name or source.slot`,
  });
}
