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
  const records = written.addLoaded(NEW);
  // Readers take the last structure of its topic to be that of the rows.
  expect(records.at(-1)?.key).toBe(NEW.record.key);
  const next = new WrittenStructures(records.map(({ value }) => Buffer.from(value)));
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

test('a table is known by its last name, also in the next life, there and back', () => {
  const [item, article] = [captured(['id']), captured(['id'], 'article')];
  let log: Buffer[] = [];
  const live = (work: (written: WrittenStructures) => readonly { readonly key: string; readonly value: string }[]) => {
    const written = new WrittenStructures(log);
    log = [...log, ...work(written).map(({ value }) => Buffer.from(value))];
    return new WrittenStructures(log);
  };
  const names = (written: WrittenStructures, topic: string) => [
    written.findByOid(7)?.structure.table,
    written.findBefore(7, topic)?.table,
  ];
  expect(
    names(
      live((written) => written.add(item)),
      item.structure.topic,
    ),
  ).toEqual(['item', undefined]);
  expect(
    names(
      live((written) => written.addLoaded(article)),
      article.structure.topic,
    ),
  ).toEqual(['article', 'item']);
  expect(
    names(
      live((written) => written.addLoaded(item)),
      item.structure.topic,
    ),
  ).toEqual(['item', 'article']);
  expect(
    names(
      live((written) => written.add(captured(['id'], 'article'))),
      article.structure.topic,
    ),
  ).toEqual(['article', 'item']);
});

test('a load of another table under the name says what it is now', () => {
  const written = new WrittenStructures([]);
  const records = [...written.add(OLD), ...written.addLoaded(captured(['id', 'more'], 'item', 8))];
  const next = new WrittenStructures(records.map(({ value }) => Buffer.from(value)));
  expect(next.currentOf(OLD.structure.topic)).toMatchObject({ structure: NEW.structure, source: { oid: 8 } });
});

function captured(names: readonly string[], table = 'item', oid = 7): CapturedTable {
  const structure = makeTable(
    'shop',
    table,
    names.map((name) => makeColumn(name, 'int4')),
  );
  return {
    structure,
    record: structureRecord(structure),
    encoder: new EventEncoder(structure, structure.columns, 'shop', 'db', '0'),
    debezium: null,
    source: { oid, fileNode: '1', attributes: '1', numbers: new Map(names.map((name, index) => [name, index + 1])) },
    changes: [],
    labels: new LabelWatch(structure.columns),
    mask: null,
    columnsOf: null,
  };
}
