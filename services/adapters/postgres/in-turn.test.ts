import type pg from 'pg';
import { expect, test } from 'vitest';
import { inTurn } from './in-turn.ts';

test('queries of one session wait for each other, also behind one that fails; streams do not wait', async () => {
  const begun: unknown[] = [];
  const ends: ((error?: Error) => void)[] = [];
  const query = (text: unknown): unknown => {
    begun.push(text);
    if (typeof text !== 'string') return text;
    return new Promise<string>((resolve, reject) =>
      ends.push((error) => (error === undefined ? resolve(`${text} done`) : reject(error))),
    );
  };
  const client = inTurn({ query } as unknown as Pick<pg.ClientBase, 'query'>);
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  const [first, second] = [client.query('one'), client.query('two')];
  await settled();
  expect(begun).toEqual(['one']);
  const stream = { submit: () => undefined } as unknown as pg.Submittable;
  expect(client.query(stream)).toBe(stream);
  ends[0]?.(new Error('refused'));
  await expect(first).rejects.toThrow('refused');
  await settled();
  expect(begun).toEqual(['one', stream, 'two']);
  ends[1]?.();
  expect(await second).toBe('two done');
});
