import type { KafkaRecord } from '#core/record.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { mergeRows } from '#core/rules/rows.ts';
import { joinEnvelope, splitEnvelope } from './envelope-text.ts';

/** What several changes of one row come to together, in the place of the newest; `nothing` where the row came and went. */
export type Composed = { readonly kind: 'record'; readonly record: KafkaRecord } | { readonly kind: 'nothing' };

/**
 * Of changes that wait, oldest first, and a newer one of their row: from the row as it was before all of them to the row as it is now. null
 * where they are not plainly of one row: its key changes among them, there is none, or it was deleted and came again.
 */
export function composeChanges(waiting: readonly KafkaRecord[], newest: KafkaRecord): Composed | null {
  const { key, value } = newest;
  const isOfRow = (record: KafkaRecord): boolean => key !== null && record.key?.equals(key) === true;
  if (value === null || waiting.length === 0 || !waiting.every(isOfRow)) return null;
  const texts = [...waiting, newest].map((record) => splitEnvelope(record.value ?? Buffer.alloc(0), 'a dead letter'));
  const [first] = texts;
  const last = texts.at(-1);
  if (first === undefined || last === undefined) return null;
  const isNew = first.event.op === 'c' || first.event.op === 'r';
  const ops = texts.slice(1).map(({ event }) => event.op);
  if (first.event.op === 'd' || ops.some((op, at) => op !== 'u' && !(op === 'd' && at === ops.length - 1))) return null;
  if (last.event.op === 'd' && isNew) return { kind: 'nothing' };
  const composed: Omit<RowEvent, 'key'> =
    last.event.op === 'd'
      ? { op: 'd', before: first.event.before ?? last.event.before, after: null }
      : {
          op: isNew ? 'c' : 'u',
          before: isNew ? null : first.event.before,
          after: texts.map(({ event }) => event.after).reduce((row, after) => mergeRows(row, after)),
        };
  return { kind: 'record', record: { ...newest, value: Buffer.from(String(joinEnvelope(composed, last.tail))) } };
}
