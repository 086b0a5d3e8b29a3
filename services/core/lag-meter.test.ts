import { expect, test } from 'vitest';
import { LagMeter } from '#core/lag-meter.ts';
import { addToTotal, totalOf, type Manifest } from '#core/manifest.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';

const SCHEMAS = 'shop.schemas';
const plan = next(null, 'plan', 0);
const chunk = next(plan, 'chunk', 100);
const early = next(chunk, 'stream', 7, '2000000');
const end = next(next(early, 'chunk', 50), 'end', 0);
const late = next(end, 'stream', 3, '9000000');

test('while the load runs both its rows and the stream wait; then the stream alone, from the plan on', () => {
  const meter = new LagMeter(SCHEMAS);
  meter.begin('load');
  expect(figures(meter, plan)).toEqual([0, 0]);
  meter.see(plan);
  expect(figures(meter, late)).toEqual([160, 0]);
  meter.see(chunk);
  meter.loaded(chunk);
  meter.see(early);
  expect(figures(meter, late)).toEqual([60, 8]);
  meter.begin('stream');
  meter.see(plan);
  meter.reached(plan);
  expect(figures(meter, late)).toEqual([10, 0]);
  meter.see(early);
  meter.reached(early);
  expect(figures(meter, late)).toEqual([3, 0]);
  meter.see(late);
  expect(figures(meter, late)).toEqual([3, 1]);
  meter.reached(late);
  expect(figures(meter, late)).toEqual([0, 0]);
});

test('a reader that goes on in the middle counts from there, and an older newest manifest never gives less than nothing', () => {
  const meter = new LagMeter(SCHEMAS);
  meter.begin('stream');
  expect(figures(meter, late)).toEqual([0, 0]);
  meter.see(late);
  expect(figures(meter, late)).toEqual([3, 1]);
  meter.reached(late);
  expect(figures(meter, early)).toEqual([0, 0]);
});

test('bytes are those between the own position and what Kafka has of the source', () => {
  const status = newStatus('sink', 'new');
  const meter = new LagMeter(SCHEMAS);
  meter.update(status, late, late, 0);
  expect(status.lagBytes).toBe(0);
  status.through = '0/10';
  meter.update(status, late, { ...late, through: '1/20' }, 0);
  expect(status.lagBytes).toBe(2 ** 32 + 16);
  meter.update(status, late, { ...late, through: '0/8' }, 0);
  expect(status.lagBytes).toBe(0);
});

/** Events, and seconds at 10 s after 1970. */
function figures(meter: LagMeter, newest: Manifest): [number, number] {
  const status: ServiceStatus = newStatus('sink', 'new');
  meter.update(status, newest, newest, 10_000);
  return [status.lagEvents, status.lagSeconds];
}

/** With one structure beside its records, which is not an event. */
function next(before: Manifest | null, kind: Manifest['kind'], count: number, commitTime?: string): Manifest {
  const range = { partition: 0, first: '0', last: '0' };
  const ranges = [
    { ...range, topic: SCHEMAS, count: 1 },
    { ...range, topic: 'shop.public.t', count },
  ];
  return {
    format: 1,
    incarnation: 'a',
    kind,
    epoch: 1,
    part: 1,
    last: true,
    firstCommit: null,
    lastCommit: null,
    lastOrdinal: 0,
    through: '0/10',
    commitTime: commitTime ?? null,
    systemId: '1',
    timeline: 1,
    load: 1,
    control: [],
    plan: '0',
    ranges,
    total: addToTotal(totalOf(before), { kind, ranges }, SCHEMAS),
  };
}
