import { expect, test } from 'vitest';
import {
  findGround,
  groundRecord,
  requireSameKafka,
  requireSamePartitions,
  requireSamePublication,
  withPartitions,
  type Ground,
} from '#core/ground.ts';
import { parseCurrent, parseStructureRecord } from '#core/structure-record.ts';

const GROUND: Ground = {
  cluster: 'one',
  topics: { 'shop.epochs': 'A', 'shop.public.a': 'B' },
  publication: { name: 'p', self: '1:2', tables: { 'shop.public.a': '3:4' } },
};

test('it is found among structures, whose readers pass over it', () => {
  const { key, value } = groundRecord(GROUND);
  const bytes = Buffer.from(value);
  expect(findGround(new Map([[key, bytes]]))).toEqual(GROUND);
  expect(parseStructureRecord(bytes)).toBeNull();
  expect(parseCurrent(bytes)).toBeNull();
  expect(findGround(new Map())).toBeNull();
  expect(() => findGround(new Map([[key, Buffer.from('{')]]))).toThrow(
    expect.objectContaining({ code: 'record_invalid' }),
  );
});

test('topics may come, not go or change', () => {
  const found = { cluster: 'one', topics: { ...GROUND.topics, more: 'C' } };
  expect(() => requireSameKafka(GROUND, found)).not.toThrow();
  expect(() => requireSameKafka(GROUND, { ...found, cluster: null })).not.toThrow();
  for (const topics of [{ 'shop.epochs': 'A' }, { ...GROUND.topics, 'shop.public.a': 'C' }])
    expect(() => requireSameKafka(GROUND, { cluster: 'one', topics })).toThrow(/topics of this pipeline were deleted/);
  expect(() => requireSameKafka(GROUND, { ...found, cluster: 'two' })).toThrow(/another Kafka cluster/);
});

test('partitions are those that the pipeline began with; a ground of before there was a choice says one', () => {
  expect(() => requireSamePartitions(GROUND, 1)).not.toThrow();
  expect(() => requireSamePartitions({ ...GROUND, ...withPartitions(3) }, 3)).not.toThrow();
  const fault = { code: 'config_invalid', fix: expect.stringContaining('partitions: 1;') as string };
  expect(() => requireSamePartitions(GROUND, 3)).toThrow(expect.objectContaining(fault));
  expect(groundRecord({ ...GROUND, ...withPartitions(1) })).toEqual(groundRecord(GROUND));
});

test('tables may come and go, not change', () => {
  const found = (publication: Ground['publication']): Ground => ({ ...GROUND, publication });
  const same = { name: 'p', self: '1:2', tables: {} };
  for (const tables of [{}, { ...GROUND.publication?.tables, more: '5:6' }])
    expect(() => requireSamePublication(GROUND, found({ ...same, tables }))).not.toThrow();
  const two = { ...GROUND, publication: { ...same, tables: { a: '3 4', b: '5 6' } } };
  expect(() => requireSamePublication(two, found({ ...same, tables: { a: '5 6', b: '3 4' } }))).not.toThrow();
  for (const other of [
    null,
    { ...same, name: 'q' },
    { ...same, self: '1:3' },
    { ...same, tables: { 'shop.public.a': '3:5' } },
  ])
    expect(() => requireSamePublication(GROUND, found(other))).toThrow(
      expect.objectContaining({ code: 'publication_altered' }),
    );
  expect(() => requireSamePublication({ ...GROUND, publication: null }, found(null))).not.toThrow();
});
