import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StoredManifest } from '#core/manifest.ts';
import { Choices, type Schedule } from '../harness/simulation/choices.ts';
import { faultsOf } from '../harness/simulation/histories.ts';
import { MemoryKafka } from '../harness/simulation/memory-kafka.ts';
import { MemoryWal, type Statement } from '../harness/simulation/memory-wal.ts';
import { producerLife, type SimulatedSource } from '../harness/simulation/producer-life.ts';
import { statement } from '../harness/simulation/statements.ts';
import { RAW } from '../harness/simulation/tables.ts';
import { joinerLife, laneLife, transformerLife } from '../harness/simulation/transformer-life.ts';

/** RESTAGE_SEED repeats a run, RESTAGE_SCHEDULES=100000 makes it longer. */
const SEED = Number(process.env['RESTAGE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const SCHEDULES = Number(process.env['RESTAGE_SCHEDULES'] ?? 1_000);
/** Lives that may end badly; the last of each service does not. */
const LIVES = 6;

const schedules = fc.record({
  transactions: fc.array(fc.array(statement, { maxLength: 6 }), { maxLength: 8 }),
  before: fc.nat(3),
  fates: fc.array(fc.nat(9), { maxLength: 60 }),
  pace: fc.array(fc.nat(23), { maxLength: 400 }),
  partitions: fc.constantFrom(1, 3),
  hasLanes: fc.constantFrom(false, false, true),
});

describe('any schedule of deaths, time and traffic', () => {
  it('leaves every event in Kafka exactly once and in order, raw and shaped', { timeout: 3_600_000 }, async () => {
    let deaths = 0;
    await fc.assert(
      fc.asyncProperty(schedules, async ({ transactions, before, fates, pace, partitions, hasLanes }) => {
        const wal = new MemoryWal(transactions);
        const kafka = new MemoryKafka(partitions);
        const committed = Math.min(before, transactions.length);
        const source: SimulatedSource = { wal, kafka, committed, slot: null, requests: [] };
        deaths += await live(source, { fates: new Choices(fates), pace: new Choices(pace) }, hasLanes);
        expect(faultsOf(kafka, wal)).toEqual([]);
      }),
      { seed: SEED, numRuns: SCHEDULES },
    );
    expect(deaths, `RESTAGE_SEED=${SEED}: hardly a service died`).toBeGreaterThan(SCHEDULES / 2);
  });
});

const SABOTAGE: Record<string, (manifests: StoredManifest[], at: number) => unknown> = {
  'an epoch is lost': (manifests, at) => manifests.splice(at, 1),
  'an epoch is there twice': (manifests, at) => manifests.splice(at, 0, ...manifests.slice(at, at + 1)),
  'two epochs are swapped': (manifests, at) =>
    manifests.splice(at - 1, 2, ...manifests.slice(at - 1, at + 1).toReversed()),
  'an event is lost': (manifests, at) => shorten(manifests, at),
  'a transaction is torn': (manifests, at) => Object.assign(manifests[at]?.manifest ?? {}, { last: false }),
};

describe('the oracle', () => {
  it.each(Object.keys(SABOTAGE))('sees that %s', async (name) => {
    const insert: Statement = { kind: 'insert', table: 0, row: 0, isBig: false };
    const transactions = Array.from({ length: 6 }, () => [insert]);
    const source: SimulatedSource = {
      wal: new MemoryWal(transactions),
      kafka: new MemoryKafka(),
      committed: 0,
      slot: null,
      requests: [],
    };
    await live(source, { fates: new Choices([]), pace: new Choices(Array.from({ length: 300 }, () => 1)) });
    expect(faultsOf(source.kafka, source.wal)).toEqual([]);
    const manifests = source.kafka.manifests(RAW) as StoredManifest[];
    const isStream = ({ manifest }: StoredManifest): boolean =>
      manifest.kind === 'stream' && manifest.part === 1 && manifest.last;
    const at = manifests.findLastIndex(isStream);
    expect(at).toBeGreaterThan(0);
    SABOTAGE[name]?.(manifests, at);
    expect(faultsOf(source.kafka, source.wal)).not.toEqual([]);
  });
});

function shorten(manifests: readonly StoredManifest[], at: number): void {
  const range = manifests[at]?.manifest.ranges.at(-1);
  if (range !== undefined) Object.assign(range, { last: String(Number(range.last) - 1), count: range.count - 1 });
}

/** Lives of both services in turn, then one of each that ends well. Returns how many died. */
async function live(source: SimulatedSource, schedule: Schedule, hasLanes = false): Promise<number> {
  let deaths = 0;
  const { kafka } = source;
  const shape = hasLanes ? lanesLife : transformerLife;
  for (let life = 0; life < LIVES; life += 1) {
    if (!(await producerLife(source, schedule))) deaths += 1;
    if (!(await shape(kafka, schedule))) deaths += 1;
  }
  const calm = { fates: new Choices([]), pace: new Choices([]) };
  expect(await producerLife(source, calm)).toBe(true);
  expect(await shape(kafka, calm)).toBe(true);
  return deaths;
}

/** Lanes are at different places when they die, and what they left is put together as far as all of them have come. */
async function lanesLife(kafka: MemoryKafka, schedule: Schedule): Promise<boolean> {
  let isWell = true;
  for (let lane = 0; lane < kafka.partitions; lane += 1) isWell = (await laneLife(kafka, schedule, lane)) && isWell;
  return (await joinerLife(kafka, schedule)) && isWell;
}
