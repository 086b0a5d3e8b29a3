import { expect, test } from 'vitest';
import { RestageError } from '#core/errors.ts';
import { joinHands, type MemberHands } from './join-hands.ts';
import type { OpenSwitch } from './state.ts';

const open: OpenSwitch = {
  to: 'target',
  startedAt: '',
  timeBoxMs: 1,
  wayBack: true,
  isCommitted: false,
  started: [],
  done: [],
  mark: null,
};

function member(name: string, did: string[], fails: 'run' | 'undo' | null = null): MemberHands {
  const act = (verb: 'run' | 'undo', step: string, signal?: AbortSignal): Promise<{ n: number }> => {
    did.push(`${name} ${verb} ${step}${signal?.aborted === true ? ' cut' : ''}`);
    if (fails === verb) return Promise.reject(new RestageError('fence_blocked', 'no', { where: 'there' }));
    return Promise.resolve({ n: did.length });
  };
  return { name, hands: { run: (step, _, signal) => act('run', step, signal), undo: (step) => act('undo', step) } };
}

const NEVER = new AbortController().signal;

test('a step is done by each target in the order of the plan, and its evidence says whose it is', async () => {
  const did: string[] = [];
  const hands = joinHands([member('a', did), member('b', did)]);
  expect(await hands.run('fence', open, NEVER)).toEqual({ 'a.n': 1, 'b.n': 2 });
  expect(await hands.undo('fence', open)).toEqual({ 'b.n': 3, 'a.n': 4 });
});

test('where one fails the next does not begin, the error says whose it is, and an undo tries them all', async () => {
  const did: string[] = [];
  const hands = joinHands([member('a', did, 'run'), member('b', did)]);
  await expect(hands.run('fence', open, NEVER)).rejects.toMatchObject({
    code: 'fence_blocked',
    where: 'target a: there',
  });
  expect(did).toEqual(['a run fence']);
  const undoing = joinHands([member('a', did), member('b', did, 'undo')]);
  await expect(undoing.undo('fence', open)).rejects.toMatchObject({ where: 'target b: there' });
  expect(did.slice(1)).toEqual(['b undo fence', 'a undo fence']);
});
