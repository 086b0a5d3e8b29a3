import { expect, test } from 'vitest';
import { Choices } from '../../test/harness/simulation/choices.ts';
import { MemoryKafka } from '../../test/harness/simulation/memory-kafka.ts';
import { MemoryWal, type Statement } from '../../test/harness/simulation/memory-wal.ts';
import { producerLife } from '../../test/harness/simulation/producer-life.ts';
import { joinerLife, laneLife, SHAPED, transformerLife } from '../../test/harness/simulation/transformer-life.ts';

const CALM = { fates: new Choices([]), pace: new Choices([]) };
const LANES = [0, 1, 2];

/** A source that was read to its end. */
async function produced(): Promise<MemoryKafka> {
  const insert: Statement = { kind: 'insert', table: 0, row: 0, isBig: false };
  const rekey: Statement = { kind: 'rekey', table: 0, row: 0, isBig: false };
  const wal = new MemoryWal([[insert, insert], [insert], [rekey], [insert]]);
  const kafka = new MemoryKafka(LANES.length);
  expect(await producerLife({ wal, kafka, committed: 1, slot: null, requests: [] }, CALM)).toBe(true);
  return kafka;
}

test('nothing is put together before every lane has come that far, and then each raw manifest once', async () => {
  const kafka = await produced();
  for (const lane of [0, 2]) await laneLife(kafka, CALM, lane);
  await joinerLife(kafka, CALM);
  expect(kafka.manifests(SHAPED)).toEqual([]);
  await laneLife(kafka, CALM, 1);
  await joinerLife(kafka, CALM);
  await joinerLife(kafka, CALM);
  const written = kafka.manifests(SHAPED).map(({ manifest }) => manifest);
  expect(written).toHaveLength(kafka.manifests({ prefix: SHAPED, lane: 1 }).length);
  expect(written.some(({ ranges }) => new Set(ranges.map(({ partition }) => partition)).size > 1)).toBe(true);
  expect(written.filter(({ joint }) => joint === true)).toHaveLength(1);
  const [plan, ...others] = kafka.manifests(SHAPED);
  expect(plan?.manifest).toMatchObject({ kind: 'plan', plan: null });
  expect(new Set(others.map(({ manifest }) => manifest.plan))).toEqual(new Set([String(plan?.offset)]));
});

test('an output goes on as it was begun: one instance refuses what lanes wrote, and lanes what one wrote', async () => {
  const lanes = await produced();
  for (const lane of LANES) await laneLife(lanes, CALM, lane);
  await joinerLife(lanes, CALM);
  await expect(transformerLife(lanes, CALM)).rejects.toThrow('begun with ordering: key');
  const single = await produced();
  expect(await transformerLife(single, CALM)).toBe(true);
  await expect(joinerLife(single, CALM)).rejects.toThrow('begun with ordering: transaction');
});
