import type pg from 'pg';
import { dropSlot, endStaleWalsender } from '#adapters/postgres/source/slot.ts';
import { identifySource } from '#adapters/postgres/source/source-identity.ts';
import type { EpochWriter } from '#core/epoch-writer.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { ManifestBook } from './manifest-book.ts';

export interface SlotReleaseOptions {
  readonly connect: () => Promise<pg.Client>;
  readonly connectReplication: () => Promise<pg.Client>;
  readonly slot: string;
  readonly application: string;
  readonly makeWriter: () => EpochWriter;
  readonly logger: Logger;
}

/** Kafka may be what is away: the source is not to wait for it. */
const HISTORY_LIMIT_MS = 20_000;

/**
 * Work that may end with `slot_released` (wal-watch.ts); the slot is then given up. Only what holds the lease may do that: who lost it meanwhile
 * gives up nothing, so it goes round as a stand-by. A slot that an earlier life said it gave up, and did not live to drop, is no news: the work
 * goes on and makes another; once, for the next one is of this life.
 */
export async function untilSlotReleased(
  work: () => Promise<void>,
  isHolder: () => boolean,
  release: () => Promise<SlotRelease>,
): Promise<void> {
  for (let leftovers = 0; ;) {
    try {
      await work();
      return;
    } catch (error) {
      if (!(error instanceof RestageError) || error.code !== 'slot_released') throw error;
      if (!isHolder()) continue;
      const said = await release().catch((failure: unknown) => {
        if (isHolder()) throw failure;
        return 'nothing' as const;
      });
      if (said === 'said now' || (said === 'said before' && leftovers > 0)) throw error;
      if (said === 'said before') leftovers++;
    }
  }
}

/** Whether the pipeline's history had said already that this slot is given up. */
export type SlotRelease = 'said now' | 'said before';

/** By the holder of the lease: says in the pipeline's history that the slot is given up, as far as Kafka can be had, and drops it. */
export async function releaseSlot(options: SlotReleaseOptions): Promise<SlotRelease> {
  const { slot, application, logger } = options;
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`Kafka did not take it within ${HISTORY_LIMIT_MS} ms`)),
      HISTORY_LIMIT_MS,
    );
  });
  const written = writeReleased(options);
  written.catch(() => undefined);
  const said = await Promise.race([written, limit])
    .catch((error: unknown) => {
      logger.warn({ reason: describeError(error) }, 'the history does not say that the slot is given up');
      return 'said now' as const;
    })
    .finally(() => clearTimeout(timer));
  const client = await options.connect();
  try {
    await endStaleWalsender(client, slot, application);
    await dropSlot(client, slot);
    logger.warn({ slot }, 'the slot is given up: the source may remove its WAL');
    return said;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function writeReleased({ makeWriter, connectReplication }: SlotReleaseOptions): Promise<SlotRelease> {
  const writer = makeWriter();
  const replication = await connectReplication();
  try {
    await writer.open();
    const last = await writer.last();
    if (last === null) return 'said now';
    if (last.manifest.released === true) return 'said before';
    const { incarnation } = last.manifest;
    const book = new ManifestBook({ incarnation, ...(await identifySource(replication)) }, last);
    // Not between two parts of a transaction: what is open stays so, for nothing follows.
    if (book.resume().last) await writer.write(book.draft('empty', { released: true }), []);
    return 'said now';
  } finally {
    await Promise.all([writer.close(), replication.end().catch(() => undefined)]);
  }
}
