import type pg from 'pg';
import type { Image } from '#core/change.ts';
import type { SourceChange } from '#core/debezium-source/row-change.ts';
import type { SinkTable } from './table-book.ts';

/** What goes into the target together, in order. */
export type BatchStep =
  | {
      readonly kind: 'rows';
      readonly changes: Map<SinkTable, SourceChange[]>;
      /** Keys that a snapshot saw. */
      readonly seen: Map<SinkTable, Image[]>;
    }
  | { readonly kind: 'truncate'; readonly lsn: bigint | null; readonly tables: SinkTable[] }
  | { readonly kind: 'work'; readonly run: (client: pg.ClientBase) => Promise<void> };

/** Changes that wait to be applied: of different tables side by side, of one table in order. */
export class TargetBatch {
  readonly steps: BatchStep[] = [];
  #bytes = 0;

  /** Of the records behind it. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.steps.length === 0;
  }

  add(table: SinkTable, change: SourceChange, bytes: number): void {
    push(this.#rows().changes, table, change);
    this.#bytes += bytes;
  }

  see(table: SinkTable, key: Image): void {
    push(this.#rows().seen, table, key);
  }

  /** Tables that one statement emptied are emptied by one. */
  truncate(table: SinkTable, lsn: bigint | null): void {
    const last = this.steps.at(-1);
    if (last?.kind === 'truncate' && last.lsn === lsn && lsn !== null) last.tables.push(table);
    else this.steps.push({ kind: 'truncate', lsn, tables: [table] });
  }

  work(run: (client: pg.ClientBase) => Promise<void>): void {
    this.steps.push({ kind: 'work', run });
  }

  /** It is applied: whoever holds the batch goes on filling it. */
  clear(): void {
    this.steps.length = 0;
    this.#bytes = 0;
  }

  #rows(): Extract<BatchStep, { kind: 'rows' }> {
    const last = this.steps.at(-1);
    if (last?.kind === 'rows') return last;
    const rows: Extract<BatchStep, { kind: 'rows' }> = { kind: 'rows', changes: new Map(), seen: new Map() };
    this.steps.push(rows);
    return rows;
  }
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, [value]);
  else known.push(value);
}
