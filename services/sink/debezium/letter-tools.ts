import type pg from 'pg';
import type { DebeziumState } from '#adapters/postgres/target/debezium-state.ts';
import type { StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';
import { badRecord } from '#core/debezium-source/bad-record.ts';
import { eventReader, keyReader, type SourceEvent } from '#core/debezium-source/event.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { Placeholder } from '#core/debezium-source/placeholder.ts';
import { changeOf, type RowReaderOptions, type SourceChange } from '#core/debezium-source/row-change.ts';
import { RestageError } from '#core/errors.ts';
import { LSN_ZERO } from '#core/lsn.ts';
import type { KafkaRecord } from '#core/record.ts';
import { formatTable } from '#core/table-name.ts';
import type { LetterTools } from '../dead-letter-retry.ts';
import type { Cut } from '../epoch-apply.ts';
import type { ReadLetters } from '../letter-reader.ts';
import type { Item } from '../part-units.ts';
import { applyInOrder } from './apply-in-order.ts';
import { BatchSegment } from './batch-segments.ts';
import type { EventOrigin } from './event-origin.ts';
import type { RecordReader } from './record-reader.ts';
import { RowWriter } from './row-writer.ts';
import { TableBook } from './table-book.ts';

/** Of the dead letter of a key's change: the key's bytes of the delete that Debezium writes before the create. */
export const OLD_KEY_HEADER = 'dlq.oldKey';

/** Dead letters of Debezium's topics, read and applied as the sink does. */
export function debeziumLetters(
  client: pg.ClientBase,
  config: DebeziumSourceConfig,
  records: RecordReader,
  topics: DebeziumState,
): LetterTools {
  const book = new TableBook(client, config);
  const tools = { options: config.options, placeholder: new Placeholder(config.options.unavailableValuePlaceholder) };
  const segments = new WeakMap<ReadLetters, BatchSegment>();
  return {
    async read(_client, letters) {
      const segment = new BatchSegment();
      for (const [at, letter] of letters.entries()) await addLetter({ book, records, tools }, letter, at, segment);
      const items: (Item | Cut)[] = segment.units.flatMap((unit) => [...unit.cuts, ...unit.items]);
      const read: ReadLetters = { groups: segment.part.groups, cuts: segment.cuts, items };
      segments.set(read, segment);
      return read;
    },
    async apply(_client, read) {
      const segment = segments.get(read);
      if (segment === undefined) return;
      const rows = new RowWriter(client, topics, false);
      await applyInOrder([...segment.changes.values()], [...segment.truncations.values()], rows, true);
      if (rows.hasMissing) throw rowNotThere(segment);
    },
  };
}

interface LetterContext {
  readonly book: TableBook;
  readonly records: RecordReader;
  readonly tools: RowReaderOptions;
}

async function addLetter(
  { book, records, tools }: LetterContext,
  letter: StoredDeadLetter,
  at: number,
  segment: BatchSegment,
): Promise<void> {
  const { topic, key, value, offset } = letter;
  const headers = new Map(letter.headers);
  const oldKey = headers.get(OLD_KEY_HEADER) ?? null;
  headers.delete(OLD_KEY_HEADER);
  const record: KafkaRecord = { offset, key, value, headers };
  const old: KafkaRecord = { ...record, key: oldKey };
  await records.learn([record, old]);
  const event = eventReader(topic, records.open(), records.open())(record);
  if (event === null) throw badRecord({ topic, partition: 0, offset }, 'it is no event of a table');
  const table = await book.open(event, false);
  const origin: EventOrigin = {
    topic,
    record,
    op: event.op,
    position: { commit: letter.position?.commit ?? LSN_ZERO, ordinal: at },
    transaction: null,
    isSnapshotRow: letter.position === null,
    xid: letter.xid,
    oldKey,
  };
  if (event.op === 't') {
    segment.addTruncation({ kind: 'truncate', lsn: null, tables: [{ table, origin }] });
    return;
  }
  let change = changeOf(event, table.form, tools);
  if (oldKey !== null)
    change = movedFrom({ ...event, op: 'd', key: keyReader(records.open())(old) }, change, table.form);
  segment.addItem({ kind: 'change', table, change, origin });

  function movedFrom(removed: SourceEvent, made: SourceChange, form: (typeof table)['form']): SourceChange {
    const before = changeOf(removed, form, tools);
    if (before.kind !== 'remove' || made.kind !== 'put') throw badRecord(removed, 'a key changed that is none');
    return { ...made, kind: 'move', oldKey: before.key };
  }
}

function rowNotThere(segment: BatchSegment): RestageError {
  const [first] = segment.changes.values();
  return new RestageError('target_drift', 'an update leaves out values of a row that the target does not hold', {
    where: first === undefined ? 'a dead letter' : formatTable(first.table.form.table),
    fix: 'write the row by hand, then restage dlq drop',
  });
}
