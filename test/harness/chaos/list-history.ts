import { createHash } from 'node:crypto';
import type pg from 'pg';

/** A row of `list`: what transactions appended to it, in their order, and the hash over all of that. */
export interface SeenList {
  readonly id: number;
  readonly items: readonly number[];
  readonly chain: string;
}

/** A transaction appends its own number to two lists at once. */
const LISTS_OF_ONE = 2;

/**
 * Looks at all lists, one after the other. A list only grows, so what an earlier look had is how a later one begins: nothing was lost, swapped
 * or taken back. Its chain is that of its items: none was missed or applied twice. A number stands in two lists or in none: no look saw
 * half a transaction.
 */
export class ListHistory {
  #last = new Map<number, SeenList>();

  /** Gives what is wrong with this look, of the target or, at the end, of the source. */
  look(lists: readonly SeenList[]): string[] {
    const faults: string[] = [];
    const appended = new Map<number, number>();
    for (const list of lists) {
      const before = this.#last.get(list.id) ?? { id: list.id, items: [], chain: '' };
      if (before.items.some((item, at) => list.items[at] !== item)) {
        faults.push(`list ${list.id}: [${tail(list)}] does not go on from [${tail(before)}]`);
        continue;
      }
      const fresh = list.items.slice(before.items.length);
      for (const item of fresh) appended.set(item, (appended.get(item) ?? 0) + 1);
      if (fresh.reduce(link, before.chain) !== list.chain)
        faults.push(`list ${list.id}: its chain is not of its items`);
    }
    for (const [item, count] of appended)
      if (count !== LISTS_OF_ONE) faults.push(`${item} stands in ${count} of ${LISTS_OF_ONE} lists`);
    if (lists.length < this.#last.size) faults.push(`${this.#last.size - lists.length} lists are gone`);
    this.#last = new Map(lists.map((list) => [list.id, list]));
    return faults;
  }
}

export async function readLists(client: pg.Client): Promise<SeenList[]> {
  return (await client.query<{ id: number; items: number[]; chain: string }>('SELECT * FROM public.list')).rows;
}

/** The same as APPEND_SQL makes. */
export function link(chain: string, item: number): string {
  return createHash('md5').update(`${chain}${item}`).digest('hex');
}

/** $1 and $2: the lists. Numbers of transactions that are rolled back are never used again. */
export const APPEND_SQL = `
  UPDATE public.list SET items = items || pg_current_xact_id()::text::int, chain = md5(chain || pg_current_xact_id()::text)
   WHERE id IN ($1, $2)`;

function tail({ items }: SeenList): string {
  return `${items.length}: ${items.slice(-5).join(' ')}`;
}
