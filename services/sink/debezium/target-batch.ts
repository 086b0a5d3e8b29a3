import type pg from 'pg';
import type { Image } from '#core/change.ts';
import type { SourceChange } from '#core/debezium-source/row-change.ts';
import type { RestageError } from '#core/errors.ts';
import type { EventOrigin } from './event-origin.ts';
import type { SinkTable } from './table-book.ts';

/** A change of a row, or what stands where one should be. */
export type BatchItem =
  | {
      readonly kind: 'change';
      readonly table: SinkTable;
      readonly change: SourceChange;
      readonly origin: EventOrigin;
    }
  | {
      readonly kind: 'unusable';
      readonly table: SinkTable;
      readonly key: Image | null;
      readonly error: RestageError;
      readonly origin: EventOrigin;
    };

export interface BatchTruncation {
  readonly kind: 'truncate';
  readonly lsn: bigint | null;
  readonly tables: { readonly table: SinkTable; readonly origin: EventOrigin }[];
}

/** What goes into the target together, in order. */
export type BatchStep =
  | {
      readonly kind: 'rows';
      /** Of different tables side by side, of one table in order. */
      readonly items: BatchItem[];
      /** Keys that a snapshot saw. */
      readonly seen: Map<SinkTable, Image[]>;
    }
  | BatchTruncation
  | { readonly kind: 'work'; readonly run: (client: pg.ClientBase) => Promise<void> };

/** Changes that wait to be applied. */
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

  add(item: BatchItem, bytes: number): void {
    this.#rows().items.push(item);
    this.#bytes += bytes;
  }

  see(table: SinkTable, key: Image): void {
    const { seen } = this.#rows();
    const known = seen.get(table);
    if (known === undefined) seen.set(table, [key]);
    else known.push(key);
  }

  /** Tables that one statement emptied are emptied by one. */
  truncate(table: SinkTable, lsn: bigint | null, origin: EventOrigin): void {
    const last = this.steps.at(-1);
    if (last?.kind === 'truncate' && last.lsn === lsn && lsn !== null) last.tables.push({ table, origin });
    else this.steps.push({ kind: 'truncate', lsn, tables: [{ table, origin }] });
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
    const rows: Extract<BatchStep, { kind: 'rows' }> = { kind: 'rows', items: [], seen: new Map() };
    this.steps.push(rows);
    return rows;
  }
}
