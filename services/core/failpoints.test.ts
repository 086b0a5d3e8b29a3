import { expect, it } from 'vitest';
import { countFailpoints, FAILPOINTS, NO_FAILPOINTS, parseFailpoints } from './failpoints.ts';

it('acts at the hit that was asked for, once', () => {
  const seen: string[] = [];
  const failpoints = countFailpoints(parseFailpoints('sink.epoch.before=kill:3, sink.epoch.after=stop'), (one) =>
    seen.push(`${one.action} ${one.name}`),
  );
  for (let count = 0; count < 5; count += 1) failpoints.hit('sink.epoch.before');
  expect(seen).toEqual(['kill sink.epoch.before']);
  failpoints.hit('sink.epoch.after');
  expect(seen).toEqual(['kill sink.epoch.before', 'stop sink.epoch.after']);
});

it('names all by a star', () => {
  expect(parseFailpoints('*=say').map(({ name }) => name)).toEqual(FAILPOINTS);
});

it('costs nothing when none is armed', () => {
  expect(countFailpoints(parseFailpoints(''), () => undefined)).toBe(NO_FAILPOINTS);
});

it.each(['sink.epoch.before', 'sink.epoch=kill', 'sink.epoch.before=crash', 'sink.epoch.before=kill:0'])(
  'refuses %s',
  (text) => {
    expect(() => parseFailpoints(text)).toThrow('RESTAGE_FAILPOINTS does not understand');
  },
);

it('has every name once', () => {
  expect(new Set(FAILPOINTS).size).toBe(FAILPOINTS.length);
});
