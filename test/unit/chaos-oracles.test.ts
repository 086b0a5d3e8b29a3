import { expect, it } from 'vitest';
import { link, ListHistory, type SeenList } from '../harness/chaos/list-history.ts';
import {
  checkManifests,
  checkRanges,
  checkTopic,
  compareHistories,
  compareRows,
  toTransactions,
  type SeenEvent,
  type SeenManifest,
} from '../harness/chaos/oracles.ts';

const TOPIC = 'p.public.bank';

function event(offset: number, commit: number, ordinal: number, op = 'u', key = '1'): SeenEvent {
  return { topic: TOPIC, offset, commit: BigInt(commit), ordinal, key, isTombstone: false, op };
}

/** Two transactions of two changes, then a delete with its tombstone. */
const EVENTS: readonly SeenEvent[] = [
  event(0, 10, 1, 'u', '1'),
  event(1, 10, 2, 'u', '2'),
  event(3, 20, 1, 'u', '1'),
  event(4, 20, 2, 'u', '2'),
  event(6, 30, 1, 'd', '2'),
  { ...event(7, 30, 1, '', '2'), isTombstone: true },
];
const MANIFESTS: readonly SeenManifest[] = [
  manifest(0, 1, 1, true, 11, 0, 1),
  manifest(2, 2, 1, false, 11, 3, 4),
  manifest(4, 2, 2, true, 31, 6, 7),
];
const ROWS = ['(1,990,big)', '(2,1010,)'];

function manifest(
  offset: number,
  epoch: number,
  part: number,
  last: boolean,
  through: number,
  from: number,
  to: number,
): SeenManifest {
  const ranges = [{ topic: TOPIC, first: from, last: to }];
  return { offset, kind: 'stream', epoch, part, last, through: BigInt(through), ranges };
}

/** Everything the oracles say of these events. */
function judge(events: readonly SeenEvent[]): string[] {
  const name = (): string => 'bank';
  return [
    ...checkTopic(events),
    ...checkRanges(MANIFESTS, events),
    ...compareHistories(toTransactions(EVENTS, name), toTransactions(events, name)),
  ];
}

it('says nothing of a history as it should be', () => {
  expect(judge(EVENTS)).toEqual([]);
  expect(checkManifests(MANIFESTS)).toEqual([]);
  expect(compareRows('bank', ROWS, ROWS.toReversed())).toEqual([]);
});

it.each<[string, readonly SeenEvent[]]>([
  ['one event dropped', EVENTS.toSpliced(2, 1)],
  ['one event doubled', EVENTS.toSpliced(3, 0, { ...event(4, 20, 1), offset: 5 })],
  ['two events of a key swapped', [event(0, 20, 1), ...EVENTS.slice(1, 2), event(3, 10, 1), ...EVENTS.slice(3)]],
  ['half a transaction', EVENTS.filter(({ commit, ordinal }) => commit !== 20n || ordinal === 1)],
  ['a tombstone without its delete', EVENTS.toSpliced(4, 1)],
  ['a whole transaction written again', [...EVENTS, event(9, 20, 1), event(10, 20, 2)]],
])('finds %s', (_what, events) => {
  expect(judge(events)).not.toEqual([]);
});

it.each<[string, readonly string[]]>([
  ['a row dropped', ROWS.slice(1)],
  ['a row doubled', [...ROWS, '(2,1010,)']],
  ['a bit flipped', ['(1,991,big)', '(2,1010,)']],
  ['a toasted column set to null', ['(1,990,)', '(2,1010,)']],
])('finds %s', (_what, rows) => {
  expect(compareRows('bank', ROWS, rows)).not.toEqual([]);
});

it.each<[string, readonly SeenManifest[]]>([
  ['an epoch left out', MANIFESTS.slice(1)],
  ['a part left out', [manifest(0, 1, 1, true, 11, 0, 1), manifest(4, 2, 2, true, 31, 6, 7)]],
  ['an epoch written again', [...MANIFESTS, manifest(6, 2, 2, true, 31, 8, 9)]],
  ['through taken back', [...MANIFESTS, manifest(6, 3, 1, true, 12, 8, 9)]],
  ['records named twice', [...MANIFESTS, manifest(6, 3, 1, true, 32, 7, 9)]],
])('finds %s among manifests', (_what, manifests) => {
  expect(checkManifests(manifests)).not.toEqual([]);
});

function list(id: number, items: readonly number[], chain = items.reduce(link, '')): SeenList {
  return { id, items, chain };
}

/** Two looks at lists to which transactions 7, 8 and 9 append. */
const LOOKS: readonly (readonly SeenList[])[] = [
  [list(1, [7]), list(2, [7])],
  [list(1, [7, 8]), list(2, [7, 8, 9]), list(3, [9])],
];

function lookAt(looks: readonly (readonly SeenList[])[]): string[] {
  const history = new ListHistory();
  return looks.flatMap((lists) => history.look(lists));
}

it('says nothing of lists that grow by whole transactions', () => {
  expect(lookAt(LOOKS)).toEqual([]);
});

it.each<[string, readonly SeenList[]]>([
  ['an append lost', [list(1, [8]), list(2, [8])]],
  ['an append taken back', [list(1, []), list(2, [])]],
  ['an append twice', [list(1, [7, 8, 8]), list(2, [7, 8])]],
  ['half a transaction', [list(1, [7, 8]), list(2, [7])]],
  ['a list gone', [list(1, [7])]],
  ['an update of the chain missed', [list(1, [7, 8], link('', 7)), list(2, [7, 8])]],
])('finds %s', (_what, lists) => {
  expect(lookAt([LOOKS[0] ?? [], lists])).not.toEqual([]);
});

it('finds two appends to a list swapped', () => {
  expect(lookAt([...LOOKS, [list(1, [8, 7]), list(2, [8, 7, 9]), list(3, [9])]])).not.toEqual([]);
});
