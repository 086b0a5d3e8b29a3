import type pg from 'pg';
import type { Image, RowChange } from '#core/change.ts';
import type { SourceChange } from '#core/debezium-source/row-change.ts';
import { LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import type { TableStructure } from '#core/structure.ts';
import type { Cut } from '../epoch-apply.ts';
import type { ReadPart, UnusableRecord } from '../part-reader.ts';
import type { ChangeItem, Item, Unit } from '../part-units.ts';
import type { EventOrigin } from './event-origin.ts';
import type { SinkTable } from './table-book.ts';
import type { BatchItem, BatchStep, BatchTruncation } from './target-batch.ts';

type BatchChange = Extract<BatchItem, { kind: 'change' }>;
type Truncation = Extract<Cut, { kind: 'truncate' }>;

/**
 * A stretch of a batch in which each transaction of the source stands together, as the quarantine looks at parts of epochs
 * (sink/quarantine.ts); what is done to the target's state stands between two of them.
 */
export class BatchSegment {
  readonly groups = new Map<TableStructure, { structure: TableStructure; version: number; changes: RowChange[] }>();
  readonly cuts: Cut[] = [];
  readonly units: { commit: Lsn; items: Item[]; cuts: Cut[] }[] = [];
  readonly changes = new Map<RowChange, BatchChange>();
  readonly truncations = new Map<Cut, BatchTruncation>();
  readonly unusable = new Map<UnusableRecord, Extract<BatchItem, { kind: 'unusable' }>>();
  readonly origins = new Map<number, EventOrigin>();
  /** Keys that a snapshot saw, by table. */
  readonly seen: (readonly [SinkTable, readonly Image[]])[] = [];
  /** What comes after it. */
  work: ((client: pg.ClientBase) => Promise<void>) | null = null;
  readonly #transactions = new Set<Lsn>();
  #last: Lsn | null = null;
  #bytes = 0;

  get part(): ReadPart {
    return { groups: [...this.groups.values()], bytes: this.#bytes, unusable: [...this.unusable.keys()] };
  }

  /** The transaction of its last event, where that is one of a whole transaction. */
  get lastTransaction(): Lsn | null {
    return this.#last;
  }

  /** Whether what comes next would part a transaction. */
  mustEndBefore(transaction: Lsn | null): boolean {
    return transaction !== null && transaction !== this.#last && this.#transactions.has(transaction);
  }

  addItem(item: BatchItem): void {
    const { structure } = item.table.target;
    if (item.kind === 'unusable') {
      const { origin, key, error } = item;
      const { topic, record, position } = origin;
      const unusable = { topic, partition: 0, offset: record.offset, position, structure, key, error };
      this.unusable.set(unusable, item);
      this.#unitOf(origin).items.push({ kind: 'unusable', position, record: unusable });
      return;
    }
    let group = this.groups.get(structure);
    if (group === undefined) this.groups.set(structure, (group = { structure, version: 0, changes: [] }));
    const change = rowChange(item.change, item.origin);
    group.changes.push(change);
    this.changes.set(change, item);
    const { position } = item.origin;
    this.#unitOf(item.origin).items.push({ kind: 'change', position, change, group } satisfies ChangeItem);
  }

  addTruncation(step: BatchTruncation): void {
    const [first] = step.tables;
    if (first === undefined) return;
    const cut: Truncation = {
      kind: 'truncate',
      position: first.origin.position,
      tables: step.tables.map(({ table }) => table.target),
      isPartial: false,
    };
    this.cuts.push(cut);
    this.truncations.set(cut, step);
    this.#unitOf(first.origin).cuts.push(cut);
  }

  /** What is taken by itself is a unit of its own, with no commit to be known by. */
  #unitOf(origin: EventOrigin): { items: Item[]; cuts: Cut[] } {
    const { transaction, record, position } = origin;
    this.origins.set(position.ordinal, origin);
    this.#bytes += record.value?.length ?? 0;
    const last = this.units.at(-1);
    const isSame = transaction !== null && transaction === this.#last && last !== undefined;
    this.#last = transaction;
    if (transaction !== null) this.#transactions.add(transaction);
    if (isSame) return last;
    const unit: Unit & { items: Item[]; cuts: Cut[] } = { commit: transaction ?? LSN_ZERO, items: [], cuts: [] };
    this.units.push(unit);
    return unit;
  }
}

/** Whoever changes the target's state waits for the rows before it. */
export function segmentsOf(steps: readonly BatchStep[]): BatchSegment[] {
  const segments: BatchSegment[] = [];
  let open = new BatchSegment();
  const end = (): void => {
    segments.push(open);
    open = new BatchSegment();
  };
  for (const step of steps) {
    switch (step.kind) {
      case 'rows':
        for (const item of step.items) {
          if (open.mustEndBefore(item.origin.transaction)) end();
          open.addItem(item);
        }
        open.seen.push(...step.seen);
        break;
      case 'truncate':
        if (open.mustEndBefore(step.tables[0]?.origin.transaction ?? null)) end();
        open.addTruncation(step);
        break;
      case 'work':
        open.work = step.run;
        end();
    }
  }
  end();
  return segments;
}

/** As the other sinks' changes are, for what waits at which row (core/key-slots.ts). */
export function rowChange(change: SourceChange, { op, position }: Pick<EventOrigin, 'op' | 'position'>): RowChange {
  return { ...rowOf(change, op === 'u'), position };
}

type Unplaced<T> = T extends RowChange ? Omit<T, 'position'> & { readonly position?: Position } : never;

function rowOf(change: SourceChange, isUpdate: boolean): Unplaced<RowChange> {
  switch (change.kind) {
    case 'put':
      if (!isUpdate) return { kind: 'insert', after: change.after };
      return { kind: 'update', key: change.key, before: null, after: change.after };
    case 'move':
      return { kind: 'update', key: change.oldKey, before: null, after: change.after };
    case 'remove':
      return { kind: 'delete', key: change.key, before: null };
    case 'add':
      return { kind: 'insert', after: change.after };
    case 'replace':
      return { kind: 'update', key: new Map(), before: change.before, after: change.after };
    case 'erase':
      return { kind: 'delete', key: new Map(), before: change.before };
  }
}
