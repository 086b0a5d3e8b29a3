import { deadLetterId, type DeadLetter, type DeadLetterKind } from '#core/dead-letter.ts';
import type { Row } from '#core/envelope.ts';
import { isEventFault } from '#core/error-policy.ts';
import type { RestageError } from '#core/errors.ts';
import { heldTableSlots } from '#core/key-slots.ts';
import { readStreamHeaders } from '#core/record.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { rowKeyOf, slotsHeldBy, slotsNeededBy, slotTableOf } from '#core/rules/row-slots.ts';
import type { TableStructure } from '#core/structure.ts';
import type { WaitingLetter } from '#core/waiting-letter.ts';
import type { EventShaper } from './event-shaper.ts';
import type { RangeRecord } from './ordered-records.ts';

/** Why a record waits: by itself, or behind a letter. */
export type Reason =
  | { readonly kind: 'fault'; readonly error: RestageError }
  | { readonly kind: 'behind'; readonly letter: string };

/** A dead letter whole: what waits, and the bytes that go to `<name>.dlq`. */
export interface MadeLetter {
  readonly waiting: WaitingLetter;
  readonly record: DeadLetter;
}

interface ReadRecord {
  readonly structure: TableStructure;
  /** null for a record that is no event. */
  readonly event: RowEvent | null;
  readonly conceal: (row: Row) => Row;
}

const KINDS: Readonly<Record<RowEvent['op'], DeadLetterKind>> = { c: 'insert', r: 'insert', u: 'update', d: 'delete' };

/** Makes dead letters of the records of one history, for one output. */
export class LetterMaker {
  readonly #shaper: Pick<EventShaper, 'read' | 'rulesOf'>;
  readonly #service: string;
  readonly #incarnation: string;
  readonly #clock: () => number;

  constructor(
    shaper: Pick<EventShaper, 'read' | 'rulesOf'>,
    {
      service,
      incarnation,
      clock,
    }: { readonly service: string; readonly incarnation: string; readonly clock: () => number },
  ) {
    this.#shaper = shaper;
    this.#service = service;
    this.#incarnation = incarnation;
    this.#clock = clock;
  }

  idOf({ range, record }: RangeRecord): string {
    const position = readStreamHeaders(record)?.position ?? record.offset;
    return deadLetterId(this.#incarnation, this.#service, range.topic, position);
  }

  /** What it must not find held; of a record that is no event, all of its table. */
  needed({ range, record }: RangeRecord): string[] {
    const { structure, event } = this.#read({ range, record });
    if (event === null) return heldTableSlots(slotTableOf(structure), null, []);
    return slotsNeededBy(event, slotTableOf(structure));
  }

  make(one: RangeRecord, reason: Reason, scope: WaitingLetter['scope']): MadeLetter {
    const { range, record } = one;
    const { structure, event, conceal } = this.#read(one);
    const table = slotTableOf(structure);
    const headers = readStreamHeaders(record);
    const facts = {
      id: this.idOf(one),
      service: this.#service,
      topic: range.topic,
      partition: range.partition,
      offset: record.offset,
      position: headers?.position ?? null,
      xid: headers?.xid ?? null,
      table: { schema: structure.schema, table: structure.table },
      kind: event === null ? 'unknown' : KINDS[event.op],
      rowKey: event === null ? null : rowKeyOf(concealKey(event, conceal), table),
      stage: event === null ? 'read' : 'shape',
      ...(reason.kind === 'behind'
        ? { code: 'waits', error: 'an earlier change of its row, or its transaction, waits', behind: reason.letter }
        : { code: reason.error.code, error: describe(reason.error), behind: null }),
    } as const;
    const slots = event === null ? heldTableSlots(table, null, []) : slotsHeldBy(event, table);
    return {
      waiting: { ...facts, scope, slots, madeAt: this.#clock() },
      record: { ...facts, key: record.key, value: record.value, headers: record.headers },
    };
  }

  #read({ range, record }: RangeRecord): ReadRecord {
    try {
      const { rules, event } = this.#shaper.read(record, range);
      return { structure: rules.source, event, conceal: (row) => rules.conceal(row) };
    } catch (error) {
      if (!isEventFault(error)) throw error;
      // Its structure is known, or it would have stopped the transformer before.
      return { structure: this.#shaper.rulesOf(range.topic).source, event: null, conceal: (row) => row };
    }
  }
}

/** A masked key is shown as it is at the target (invariant 8). */
function concealKey(event: RowEvent, conceal: ReadRecord['conceal']): RowEvent {
  return event.key === null ? event : { ...event, key: conceal(event.key) };
}

/** What, and the rule's place; the event's own stands in the letter. */
function describe({ message, where }: RestageError): string {
  return where === undefined ? message : `${message} (${where})`;
}
