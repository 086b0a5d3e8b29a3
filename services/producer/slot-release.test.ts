import { describe, expect, it } from 'vitest';
import { RestageError } from '#core/errors.ts';
import { untilSlotReleased, type SlotRelease } from './slot-release.ts';

const released = new RestageError('slot_released', 'above its budget');
const away = new Error('the source is away');

interface Case {
  /** What each life of the work ends by; null: well. */
  readonly lives: readonly (Error | null)[];
  /** What becomes of each attempt to give the slot up. */
  readonly releases?: readonly (SlotRelease | Error)[];
  /** Asked before each release, and after one that failed. */
  readonly holds?: readonly boolean[];
}

/** The error that it ends by, or null; and how many lives and releases that took. */
async function run({
  lives,
  releases = [],
  holds = [],
}: Case): Promise<{ end: unknown; lived: number; given: number }> {
  const counts = { lived: 0, given: 0, asked: 0 };
  const end = await untilSlotReleased(
    () => {
      const fault = lives[counts.lived++] ?? null;
      return fault === null ? Promise.resolve() : Promise.reject(fault);
    },
    () => holds[counts.asked++] ?? true,
    () => {
      const outcome = releases[counts.given++] ?? away;
      return outcome instanceof Error ? Promise.reject(outcome) : Promise.resolve(outcome);
    },
  ).then(
    () => null,
    (error: unknown) => error,
  );
  return { end, lived: counts.lived, given: counts.given };
}

describe('a slot that kept too much', () => {
  it('is given up by the holder of the lease, who then stops', async () => {
    expect(await run({ lives: [released], releases: ['said now'] })).toEqual({ end: released, lived: 1, given: 1 });
  });

  it('is left alone by who lost the lease, who goes round and gives it up once it is the holder again', async () => {
    expect(await run({ lives: [released, null], holds: [false] })).toEqual({ end: null, lived: 2, given: 0 });
    const again = { lives: [released, released], holds: [false, true], releases: ['said now' as const] };
    expect(await run(again)).toEqual({ end: released, lived: 2, given: 1 });
  });

  it('was not given up where the lease is lost in the midst of it', async () => {
    const lost = { lives: [released, null], holds: [true, false], releases: [away] };
    expect(await run(lost)).toEqual({ end: null, lived: 2, given: 1 });
  });

  it('is dropped without a stop where an earlier life gave it up, but only once', async () => {
    expect(await run({ lives: [released, null], releases: ['said before'] })).toEqual({
      end: null,
      lived: 2,
      given: 1,
    });
    const twice = { lives: [released, released], releases: ['said before' as const, 'said before' as const] };
    expect(await run(twice)).toEqual({ end: released, lived: 2, given: 2 });
  });

  it('and any other fault, also one of giving it up, is thrown as it is', async () => {
    expect(await run({ lives: [away] })).toEqual({ end: away, lived: 1, given: 0 });
    expect(await run({ lives: [released], releases: [away] })).toEqual({ end: away, lived: 1, given: 1 });
  });
});
