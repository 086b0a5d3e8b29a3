import type pg from 'pg';
import type { DebeziumState } from '#adapters/postgres/target/debezium-state.ts';
import type { DeadLetterStore } from '#adapters/postgres/target/dead-letter-store.ts';
import type { Image } from '#core/change.ts';
import { deadLetterId, type DeadLetter } from '#core/dead-letter.ts';
import type { KeyLink } from '#core/key-slots.ts';
import type { Logger } from '#core/log.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { TableName } from '#core/table-name.ts';
import type { Judged } from '../careful-part.ts';
import type { Cut } from '../epoch-apply.ts';
import type { StructureChanges } from '../part-reader.ts';
import { Quarantine, type PartOrder } from '../quarantine.ts';
import { noteRefused } from '../refusal.ts';
import { catalogOf, frameOf } from '../postgres-target.ts';
import { SlotBook } from '../slot-book.ts';
import { segmentsOf, type BatchSegment } from './batch-segments.ts';
import { applyInOrder } from './apply-in-order.ts';
import type { EventOrigin } from './event-origin.ts';
import { OLD_KEY_HEADER } from './letter-tools.ts';
import { refusedSource, type RowWriter } from './row-writer.ts';
import type { SinkTable } from './table-book.ts';
import type { BatchStep } from './target-batch.ts';

export interface BatchQuarantineOptions {
  readonly policy: QuarantinePolicy;
  readonly client: pg.ClientBase;
  readonly store: DeadLetterStore;
  readonly topics: DebeziumState;
  readonly incarnation: string;
  /** `sink <target>`. */
  readonly service: string;
  /** The target's, for the foreign keys between them. */
  readonly tables: () => Promise<readonly TableName[]>;
  readonly relay: () => Promise<void>;
  readonly status: ServiceStatus;
  readonly logger: Logger;
}

/** Where a batch stands: the target's transaction may have had some before, and the source's may go on after it. */
export interface BatchPlace {
  readonly isFirst: boolean;
  readonly open: Lsn | null;
}

/** Applies batches by the means of every sink's quarantine (sink/quarantine.ts): what the target refuses is left out, and what waits for it. */
export class BatchQuarantine {
  readonly #options: BatchQuarantineOptions;
  readonly #quarantine: Quarantine<PartOrder>;
  readonly #slots: SlotBook;
  #segment: BatchSegment | null = null;

  constructor(options: BatchQuarantineOptions) {
    this.#options = options;
    const { client, store: letters } = options;
    const session = { transaction: frameOf(client), catalog: catalogOf(client), letters };
    this.#slots = new SlotBook(session.catalog);
    this.#quarantine = new Quarantine<PartOrder>({
      ...options,
      session,
      slots: this.#slots,
      split: () => this.#segment?.units ?? [],
      writer: {
        idOf: (topic, place) => this.#idOf(topic, place),
        write: (_place, judged, _unusable, links) => this.#write(judged, links),
      },
    });
  }

  get mayLeaveOut(): boolean {
    return this.#options.policy !== 'stop';
  }

  begin(): Promise<void> {
    return this.#quarantine.begin(Date.now());
  }

  committed(): Promise<void> {
    return this.#quarantine.committed(Date.now());
  }

  /** True where the target's transaction is to be rolled back, and everything since the stored positions taken again. */
  takes(error: unknown): boolean {
    return this.#quarantine.takes(error);
  }

  async apply(steps: readonly BatchStep[], { isFirst, open }: BatchPlace, rows: RowWriter): Promise<void> {
    const { client, topics } = this.#options;
    const segments = segmentsOf(steps);
    for (const [at, segment] of segments.entries()) {
      const goesOn = at < segments.length - 1 ? segment.lastTransaction : open;
      await this.#applySegment(segment, isFirst && at === 0, goesOn, rows);
      for (const [table, keys] of segment.seen) await topics.noteSeen(client, table.topic, table.target, keys);
      await segment.work?.(client);
    }
  }

  async #applySegment(segment: BatchSegment, isFirst: boolean, open: Lsn | null, rows: RowWriter): Promise<void> {
    this.#segment = segment;
    const order = { isFirst, isLast: open === null, isLoadDone: true, ...(open === null ? {} : { open }) };
    await this.#quarantine.applyPart(order, segment.part, segment.cuts, (groups, cuts) =>
      this.#put(segment, groups, cuts, rows),
    );
    this.#segment = null;
  }

  async #put(
    segment: BatchSegment,
    groups: readonly StructureChanges[],
    cuts: readonly Cut[],
    rows: RowWriter,
  ): Promise<void> {
    const chosen = groups
      .flatMap(({ changes }) => changes.map((change) => segment.changes.get(change)))
      .filter((item) => item !== undefined);
    const emptied = cuts.flatMap((cut) => segment.truncations.get(cut) ?? []);
    const units = new Set([
      ...chosen.map(({ origin }) => origin.transaction ?? origin.record),
      ...emptied.map(({ tables }) => tables[0]?.origin.transaction ?? tables),
    ]);
    try {
      await applyInOrder(chosen, emptied, rows, !this.#quarantine.isCareful || units.size === 1);
    } catch (error) {
      const refused = refusedSource(error);
      for (const [change, item] of segment.changes)
        if (item.change === refused && error instanceof Error) noteRefused(error, change);
      throw error;
    }
  }

  #idOf(topic: string, place: Position | bigint): string {
    const { incarnation, service } = this.#options;
    const origin = typeof place === 'bigint' ? undefined : this.#segment?.origins.get(place.ordinal);
    return origin === undefined
      ? deadLetterId(incarnation, service, topic, place)
      : deadLetterId(incarnation, service, origin.topic, origin.record.offset);
  }

  async #write(judged: readonly Judged[], links: readonly KeyLink[]): Promise<number> {
    const segment = this.#segment;
    let count = 0;
    const add = async (origin: EventOrigin, table: SinkTable, one: Judged, slots: readonly string[]): Promise<void> => {
      await this.#options.store.add(this.#letterOf(origin, table, one), slots);
      count += 1;
    };
    for (const one of judged) {
      const { item, slots } = one;
      const change = item.kind === 'change' ? segment?.changes.get(item.change) : undefined;
      const unusable = item.kind === 'unusable' ? segment?.unusable.get(item.record) : undefined;
      const known = change ?? unusable;
      if (known !== undefined) await add(known.origin, known.table, one, slots);
      if (item.kind !== 'truncate') continue;
      // A statement's tables are records of their own; each is retried by itself.
      for (const { table, origin } of segment?.truncations.get(item)?.tables ?? [])
        await add(origin, table, one, await this.#slots.held({ ...item, tables: [table.target] }, links));
    }
    return count;
  }

  #letterOf(origin: EventOrigin, table: SinkTable, { item, verdict }: Judged): DeadLetter {
    const { topic, record, oldKey } = origin;
    const { structure, identity } = table.target;
    const headers = new Map(record.headers);
    if (oldKey !== null) headers.set(OLD_KEY_HEADER, oldKey);
    return {
      id: this.#idOf(topic, record.offset),
      service: this.#options.service,
      topic,
      partition: 0,
      offset: record.offset,
      position: origin.isSnapshotRow ? null : origin.position,
      xid: origin.xid,
      table: { schema: structure.schema, table: structure.table },
      kind: item.kind === 'change' ? item.change.kind : item.kind === 'truncate' ? 'truncate' : 'unknown',
      rowKey: keyOf(item, identity),
      key: record.key,
      value: record.value,
      headers,
      stage: item.kind === 'unusable' ? 'read' : 'apply',
      ...verdict,
    };
  }
}

function keyOf(item: Judged['item'], identity: readonly string[]): Record<string, string | null> | null {
  const image = imageOf(item);
  if (image === null || identity.length === 0) return null;
  return Object.fromEntries(identity.map((name) => [name, image.get(name) ?? null]));
}

/** The row as the target is to know it. */
function imageOf(item: Judged['item']): Image | null {
  if (item.kind === 'unusable') return item.record.key;
  if (item.kind !== 'change') return null;
  return item.change.kind === 'insert' ? item.change.after : item.change.key;
}
