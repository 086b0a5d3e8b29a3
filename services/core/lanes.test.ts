import { describe, expect, it } from 'vitest';
import type { ControlEntry, Manifest } from '#core/manifest.ts';
import { isJoint, laneOf } from '#core/lanes.ts';

const EPOCH: Pick<Manifest, 'kind' | 'part' | 'last' | 'control'> = {
  kind: 'stream',
  part: 1,
  last: true,
  control: [],
};
const BARRIER: ControlEntry = { kind: 'barrier', commit: '0/1', ordinal: 1, id: 'b' };
const TRUNCATE: ControlEntry = {
  kind: 'truncate',
  commit: '0/1',
  ordinal: 1,
  topics: ['a'],
  cascade: false,
  restartIdentity: false,
};

describe('lanes', () => {
  it('shares out the partitions of a topic that may be taken apart, and no other', () => {
    const plan = { lanes: 4, split: new Set(['shop.public.orders']) };
    const lanes = [0, 1, 2, 3, 4].map((partition) => laneOf(plan, 'shop.public.orders', partition));
    expect(new Set(lanes.slice(0, 4)).size).toBe(4);
    expect(lanes[4]).toBe(lanes[0]);
    const whole = [0, 1, 2, 3].map((partition) => laneOf(plan, 'shop.public.keyless', partition));
    expect(new Set(whole).size).toBe(1);
  });

  it('shares out topics of one partition', () => {
    const plan = { lanes: 3, split: new Set<string>() };
    const topics = Array.from({ length: 30 }, (_, index) => `shop.public.t${index}`);
    expect(new Set(topics.map((topic) => laneOf(plan, topic, 0)))).toEqual(new Set([0, 1, 2]));
  });

  it.each([
    ['changes of rows', EPOCH, false],
    ['nothing but a position', { ...EPOCH, kind: 'empty' as const }, false],
    ['a barrier', { ...EPOCH, control: [BARRIER] }, false],
    ['a key that changes', { ...EPOCH, joint: true }, true],
    ['a TRUNCATE', { ...EPOCH, control: [TRUNCATE] }, true],
    ['the first part of a transaction', { ...EPOCH, last: false }, true],
    ['its last part', { ...EPOCH, part: 2 }, true],
    ['an announcement', { ...EPOCH, kind: 'announce' as const }, true],
  ])('asks of %s whether lanes may pass it by themselves', (_, manifest, expected) => {
    expect(isJoint(manifest)).toBe(expected);
  });
});
