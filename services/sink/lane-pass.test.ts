import { describe, expect, it } from 'vitest';
import type { LanePosition, Spread } from '#adapters/postgres/target/spread-state.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import { laneOf } from '#core/lanes.ts';
import { LSN_ZERO } from '#core/lsn.ts';
import type { TableStructure } from '#core/structure.ts';
import { MemoryTopics, SCHEMAS_TOPIC } from '../../test/harness/memory-topics.ts';
import { Choices } from '../../test/harness/simulation/choices.ts';
import { memoryLane } from '../../test/harness/simulation/memory-lane.ts';
import { spreadOf } from '../../test/harness/simulation/memory-spread.ts';
import { MemoryTarget, Tally, TargetLife } from '../../test/harness/simulation/memory-target.ts';
import { rowsOf } from '../../test/harness/simulation/target-store.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';
import { LanePass } from './lane-pass.ts';
import { StructureBook } from './structure-book.ts';

const TABLE: TableStructure = {
  ...makeTable('test', 'split', [makeColumn('id', 'int4')]),
  identity: { kind: 'primaryKey', columns: ['id'], isFull: false },
};
const EPOCHS = 6;
const FROM: LanePosition = { nextOffset: 1n, through: LSN_ZERO, epoch: 1 };
const SPREAD: Spread = {
  id: '6d9d0b5e-0000-4000-8000-000000000001',
  lanes: 2,
  split: [TABLE.topic],
  until: null,
};
/** The lane whose every row it is, of the partition that is written; and the one that has nothing to do. */
const BUSY = laneOf({ lanes: SPREAD.lanes, split: new Set(SPREAD.split) }, TABLE.topic, 0);
const IDLE = 1 - BUSY;

/** A plan, and epochs of a row each; lanes that stand after the plan. The lanes know of no meeting when they begin. */
async function openWorld(): Promise<{ topics: MemoryTopics; target: MemoryTarget; life: TargetLife }> {
  const topics = new MemoryTopics('life', EPOCHS);
  topics.plan(1, [TABLE]);
  for (let id = 1; id <= EPOCHS; id += 1)
    topics.stream([{ structure: TABLE, commit: 100 * id, op: 'c', after: { id } }], {
      control: id === EPOCHS ? [{ kind: 'barrier', commit: '0/258', ordinal: 1, id: 'b' }] : [],
    });
  const target = new MemoryTarget(() => undefined);
  const life = new TargetLife(new Choices([]), new Tally(), () => undefined);
  await spreadOf(target.connect(life), '').open(SPREAD, FROM);
  return { topics, target, life };
}

/** The lane's pass, where the lanes are asked to meet before it stores anything. */
async function passWith(lane: number, until: bigint): Promise<{ end: string; at: bigint | undefined; rows: number }> {
  const { topics, target, life } = await openWorld();
  const session = memoryLane(target.connect(life), lane, 'token');
  const from = await session.lane.take(SPREAD);
  if (from === null) throw new Error('there is no such lane');
  await spreadOf(target.connect(life), '').converge(until);
  const pass = new LanePass(
    {
      lane,
      spread: SPREAD,
      reader: topics.reader,
      structures: new StructureBook(topics.reader, SCHEMAS_TOPIC, topics.structures()),
      schemasTopic: SCHEMAS_TOPIC,
      session,
      loads: new Map(),
      clock: () => 0,
      failpoints: NO_FAILPOINTS,
      restMs: 3_600_000,
    },
    from,
  );
  const end = await pass.run(new AbortController().signal);
  return { end, at: target.store.lanes.get(lane)?.nextOffset, rows: rowsOf(target.store, TABLE.topic).size };
}

describe('a lane that learns of a meeting when it stores', () => {
  it.each([
    ['in the middle of what it passed without a change', 4n],
    ['where it began', FROM.nextOffset],
    ['at the end of what it passed', BigInt(EPOCHS + 1)],
  ])('stands %s', async (_where, until) => {
    expect(await passWith(IDLE, until)).toEqual({ end: 'done', at: until, rows: 0 });
  });

  it.each([
    ['in the middle of epochs that it took together', 4n, 3],
    ['where it began', FROM.nextOffset, 0],
    ['at the end of them', BigInt(EPOCHS + 1), EPOCHS],
  ])('applies up to there: %s', async (_where, until, rows) => {
    expect(await passWith(BUSY, until)).toEqual({ end: 'done', at: until, rows });
  });
});
