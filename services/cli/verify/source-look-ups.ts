import type pg from 'pg';
import { openLevelStore } from '#adapters/state/level-store.ts';
import type { Row } from '#core/envelope.ts';
import type { ReadRow } from '#core/rules/event-place.ts';
import type { RowStore } from '#core/rules/row-store.ts';
import { keyText, pickColumns } from '#core/rules/rows.ts';
import type { LookedUpSource } from './shaped-table.ts';
import { readSourceRows } from './source-rows.ts';

/** What rules may look up in the source's snapshot; on this machine's disk, for it may be large (invariant 6). */
export interface SourceLookUps extends AsyncDisposable {
  readonly read: ReadRow;
}

const ROWS_A_WRITE = 10_000;

/** Reads the tables whole, each as the session's snapshot has it. */
export async function openSourceLookUps(
  tables: readonly LookedUpSource[],
  client: pg.Client,
  signal: AbortSignal,
): Promise<SourceLookUps> {
  if (tables.length === 0) return { read: () => null, [Symbol.asyncDispose]: () => Promise.resolve() };
  const store = await openLevelStore();
  try {
    for (const table of tables) await fill(store, table, client, signal);
  } catch (error) {
    await store.close();
    throw error;
  }
  return {
    read(topic, key) {
      const text = store.get(placeOf(topic, key));
      return text === undefined ? null : (JSON.parse(text) as Row);
    },
    [Symbol.asyncDispose]: () => store.close(),
  };
}

async function fill(store: RowStore, table: LookedUpSource, client: pg.Client, signal: AbortSignal): Promise<void> {
  const { topic, identity } = table.source;
  const changes = new Map<string, string>();
  for await (const rows of readSourceRows(client, table, signal)) {
    for (const row of rows) {
      const key = keyText(row, identity.columns);
      if (key !== null) changes.set(placeOf(topic, key), JSON.stringify(pickColumns(row, table.columns)));
    }
    if (changes.size < ROWS_A_WRITE) continue;
    await store.write(changes);
    changes.clear();
  }
  await store.write(changes);
}

function placeOf(topic: string, key: string): string {
  return `${topic}\u0000${key}`;
}
