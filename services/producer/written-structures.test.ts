import { expect, test } from 'vitest';
import { EventEncoder } from '#core/event-encoder.ts';
import { structureRecord } from '#core/structure-record.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';
import type { CapturedTable } from './captured-table.ts';
import { LabelWatch } from './label-watch.ts';
import { WrittenStructures } from './written-structures.ts';

const OLD = captured(['id']);
const NEW = captured(['id', 'more']);

test('a plan that comes to Kafka before the first events of a table says that it is captured', () => {
  const written = new WrittenStructures([]);
  written.add(OLD);
  const next = new WrittenStructures(written.addLoaded(NEW).map(({ value }) => Buffer.from(value)));
  expect([...next.topics]).toEqual([OLD.structure.topic]);
  // The stream goes on from its own first structure, not from that of the rows.
  expect(next.currentOf(OLD.structure.topic)?.structure).toEqual(OLD.structure);
});

test('a later load leaves what the newest events have', () => {
  const first = new WrittenStructures([]);
  const records = [...first.addLoaded(OLD), ...first.addLoaded(NEW)];
  const next = new WrittenStructures(records.map(({ value }) => Buffer.from(value)));
  expect(next.currentOf(OLD.structure.topic)?.structure).toEqual(OLD.structure);
  expect(next.addLoaded(NEW).map(({ key }) => key)).toEqual([NEW.record.key]);
});

function captured(names: readonly string[]): CapturedTable {
  const structure = makeTable(
    'shop',
    'item',
    names.map((name) => makeColumn(name, 'int4')),
  );
  return {
    structure,
    record: structureRecord(structure),
    encoder: new EventEncoder(structure, structure.columns, 'shop', 'db', '0'),
    debezium: null,
    source: { oid: 7, fileNode: '1', numbers: new Map(names.map((name, index) => [name, index + 1])) },
    changes: [],
    labels: new LabelWatch(structure.columns),
    mask: null,
  };
}
