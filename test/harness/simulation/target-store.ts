import type { LaneProgress, Spread } from '#adapters/postgres/target/spread-state.ts';
import type { Checkpoint, TableLoad } from '#adapters/postgres/target/target-state.ts';
import type { LateTable } from '#adapters/postgres/target/late-state.ts';
import type { StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';

/** A row's columns by name. */
export type StoredRow = ReadonlyMap<string, string | null>;

export interface KeptLetter {
  readonly letter: StoredDeadLetter;
  readonly slots: readonly string[];
  readonly isRelayed: boolean;
}

/** All that a target holds: what a transaction copies, changes, and puts in the place of what was there. */
export interface TargetStore {
  checkpoint: Checkpoint | null;
  token: string;
  /** Each table's rows by their key, by topic. */
  readonly tables: Map<string, Map<string, StoredRow>>;
  readonly shadows: Map<string, StoredRow[]>;
  readonly loads: Map<string, TableLoad>;
  /** Rows of each part of a chunk that is applied. */
  readonly ledger: Map<string, number>;
  late: { readonly begun: bigint; readonly loading: bigint; readonly loaded: bigint | null } | null;
  readonly lateTables: Map<string, LateTable>;
  readonly letters: Map<string, KeptLetter>;
  /** Under the token of whoever leads it. */
  spread: { readonly spread: Spread; readonly token: string } | null;
  /** By their numbers, each under the token of whoever serves it. */
  readonly lanes: Map<number, LaneProgress & { readonly token: string }>;
}

export function emptyStore(): TargetStore {
  return {
    checkpoint: null,
    token: '',
    tables: new Map(),
    shadows: new Map(),
    loads: new Map(),
    ledger: new Map(),
    late: null,
    lateTables: new Map(),
    letters: new Map(),
    spread: null,
    lanes: new Map(),
  };
}

/** Rows, and all that is not a map, are never changed in place. */
export function copyStore(store: TargetStore): TargetStore {
  return {
    ...store,
    tables: new Map([...store.tables].map(([topic, rows]) => [topic, new Map(rows)])),
    shadows: new Map([...store.shadows].map(([topic, rows]) => [topic, [...rows]])),
    loads: new Map(store.loads),
    ledger: new Map(store.ledger),
    lateTables: new Map(store.lateTables),
    letters: new Map(store.letters),
    lanes: new Map(store.lanes),
  };
}

export function rowsOf(store: TargetStore, topic: string): Map<string, StoredRow> {
  const rows = store.tables.get(topic) ?? new Map<string, StoredRow>();
  store.tables.set(topic, rows);
  return rows;
}
