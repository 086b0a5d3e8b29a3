import { expect, test } from 'vitest';
import { TableTopics } from './table-topics.ts';

const TABLES = ['a', 'b', 'c'].map((topic) => ({ topic }));

test('a topic is made when it is remembered, and remembered only once Kafka has the plan', async () => {
  const { topics, remembered, hand } = open();
  const begun = settles(topics.begin(TABLES));
  await settled();
  expect(begun()).toBe('waits');
  hand('a', 'b');
  await settled();
  expect([begun(), remembered]).toEqual(['done', []]);
  const [first, all] = [settles(topics.whenMade('a')), settles(topics.whenAllMade())];
  topics.notePlan();
  await settled();
  expect([remembered, first(), all()]).toEqual([[['a', 'b']], 'done', 'waits']);
  hand('c');
  await settled();
  expect([remembered, all()]).toEqual([[['a', 'b'], ['c']], 'done']);
});

test('the first are remembered at once, those after them by the thousands or when all are there', async () => {
  const { topics, remembered, hand } = open();
  const many = Array.from({ length: 2_000 }, (_, index) => `many${index}`);
  topics.notePlan();
  hand('a');
  await topics.begin([...TABLES, ...many.map((topic) => ({ topic })), { topic: 'last' }]);
  hand('b', 'c');
  await settled();
  expect(remembered).toEqual([['a']]);
  hand(...many);
  await settled();
  expect(remembered).toEqual([['a'], ['b', 'c', ...many]]);
  hand('last');
  await topics.whenAllMade();
  expect(remembered.at(-1)).toEqual(['last']);
});

test('those that come later are asked for before the plan too, each once; one that nobody named is not waited for', async () => {
  const { topics, asked, remembered, hand } = open();
  await topics.whenAllMade();
  await topics.whenMade('another');
  hand('a', 'b');
  await topics.begin(TABLES.slice(0, 2));
  hand('c');
  await topics.begin(TABLES);
  await topics.begin(TABLES);
  expect([asked, topics.has('c'), topics.has('another')]).toEqual([[['a', 'b'], ['c']], true, false]);
  expect(remembered).toEqual([]);
  topics.notePlan();
  await topics.whenAllMade();
  expect(remembered.flat().toSorted()).toEqual(['a', 'b', 'c']);
});

test('what keeps topics from being made is told to all who wait and who come', async () => {
  const { topics, fail } = open();
  const begun = expect(topics.begin(TABLES)).rejects.toThrow('no broker');
  topics.notePlan();
  const waiting = topics.whenMade('b');
  fail(new Error('no broker'));
  await expect(waiting).rejects.toThrow('no broker');
  await expect(topics.whenAllMade()).rejects.toThrow('no broker');
  await begun;
});

test.each([true, false])(
  'aborted, nobody waits and nothing more is remembered (plan in Kafka: %s)',
  async (isPlanned) => {
    const { topics, remembered, hand, stop } = open();
    const begun = topics.begin(TABLES);
    if (isPlanned) topics.notePlan();
    else hand('a');
    const waiting = topics.whenMade('c');
    await settled();
    stop.abort();
    await Promise.all([begun, waiting]);
    await topics.close();
    hand('b');
    await settled();
    expect(remembered).toEqual([]);
  },
);

interface Opened {
  readonly topics: TableTopics;
  readonly asked: (readonly string[])[];
  readonly remembered: (readonly string[])[];
  readonly stop: AbortController;
  readonly hand: (...made: string[]) => void;
  readonly fail: (error: Error) => void;
}

/** Topics are made when the test hands them over. */
function open(): Opened {
  const asked: (readonly string[])[] = [];
  const remembered: (readonly string[])[] = [];
  const handed: string[][] = [];
  let failure: Error | null = null;
  let waiting: (() => void)[] = [];
  const wake = (): void => {
    const woken = waiting;
    waiting = [];
    for (const resume of woken) resume();
  };
  const stop = new AbortController();
  const topics = new TableTopics({
    async *make(names) {
      asked.push(names);
      for (let left = names.length; left > 0;) {
        if (failure !== null) throw failure;
        const made = handed.shift();
        if (made === undefined) await new Promise<void>((resolve) => waiting.push(resolve));
        else {
          left -= made.length;
          yield made;
        }
      }
    },
    remember: (made) => {
      remembered.push(made);
      return Promise.resolve();
    },
    signal: stop.signal,
  });
  return {
    topics,
    asked,
    remembered,
    stop,
    hand: (...made) => {
      handed.push(made);
      wake();
    },
    fail: (error) => {
      failure = error;
      wake();
    },
  };
}

/** How a promise stands. */
function settles(promise: Promise<unknown>): () => 'waits' | 'done' | 'failed' {
  let state: 'waits' | 'done' | 'failed' = 'waits';
  promise.then(
    () => (state = 'done'),
    () => (state = 'failed'),
  );
  return () => state;
}

/** Everything that waits for no event but microtasks has run. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
