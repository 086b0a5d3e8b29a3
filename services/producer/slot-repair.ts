import { dropSlot, endStaleWalsender } from '#adapters/postgres/source/slot.ts';
import type { TableStructure } from '#core/structure.ts';
import { makeSlot, type BornSlot, type SlotOptions } from './birth.ts';

/**
 * A new slot for one that was given up. The load of all tables is announced before it is made, so their snapshot is later than the
 * slot's consistent point, and has what the stream between the old slot and the new one is missing: readers go from the announcement to
 * that snapshot in one step. `released` stands in every manifest until the new slot's: whatever slot a crash left is made again.
 * In the middle of a load nothing is announced: another plan takes all tables, as it does where their snapshot is lost
 * (unfinished-load.ts), and each snapshot is later than what the old slot gave.
 */
export async function repairSlot(options: SlotOptions, tables: readonly TableStructure[]): Promise<BornSlot> {
  const { client, source, book, writer, application } = options;
  await endStaleWalsender(client, source.slot, application);
  await dropSlot(client, source.slot);
  if (book.last?.kind !== 'announce' && book.last?.loaded === true) {
    const named = tables.map(({ schema, table, topic }) => ({ schema, table, topic, chunks: 0, rows: 0 }));
    const late = { at: null, requests: [] };
    const draft = book.draft('announce', { load: book.load + 1, tables: named, loaded: false, late, released: true });
    book.note(await writer.write(draft, []));
  }
  return makeSlot(options);
}
