import { once } from 'node:events';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { Spread } from '#adapters/postgres/target/spread-state.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import { LSN_ZERO } from '#core/lsn.ts';
import { serveLanes, type LaneParts } from './lanes.ts';
import type { LaneSession } from './lane-target.ts';

const SPREAD: Spread = { id: 'first', lanes: 1, split: [], until: null };

/** One lane that meets a fault which does not pass by itself. `looks`: what is open each time that it looks; nothing after them. */
function laneOf(looks: readonly Spread[]): { readonly parts: LaneParts; readonly whenRested: Promise<void> } {
  const left = [...looks];
  let rest = (): void => undefined;
  const whenRested = new Promise<void>((resolve) => (rest = resolve));
  const session = {
    takeover: { actAsReplica: () => Promise.resolve(true), endStale: () => Promise.resolve(0) },
    transaction: { rollback: () => Promise.resolve() },
    lane: {
      spread: () => {
        const open = left.shift() ?? null;
        if (open === null) rest();
        return Promise.resolve(open);
      },
      take: () => Promise.resolve({ nextOffset: 1n, through: LSN_ZERO, epoch: 1 }),
    },
    loads: { tables: () => Promise.resolve(new Map()) },
    end: () => Promise.resolve(),
  } as unknown as LaneSession;
  const reader = {
    // oxlint-disable-next-line require-yield -- nothing ever comes
    async *manifests(_from: bigint, signal: AbortSignal) {
      if (!signal.aborted) await once(signal, 'abort');
    },
  } as unknown as EpochReader;
  const parts: LaneParts = {
    target: 'new',
    schemasTopic: 'shop.schemas',
    own: 1,
    spare: 0,
    leases: () => ({
      lane: 0,
      lost: new AbortController().signal,
      acquire: () => Promise.resolve(),
      release: () => Promise.resolve(),
    }),
    open: () => Promise.resolve(session),
    feed: () => ({
      reader,
      readStructures: () => Promise.resolve([]),
      watch: () => Promise.reject(new RestageError('target_altered', 'the table has other columns')),
      close: () => Promise.resolve(),
    }),
    pace: { firstLookMs: 1, lastLookMs: 1, restMs: 1 },
    clock: Date.now,
    failpoints: NO_FAILPOINTS,
    logger: pino({ level: 'silent' }),
  };
  return { parts, whenRested };
}

test('what does not pass by itself stops a lane while its spread is open', async () => {
  const { parts } = laneOf([SPREAD, SPREAD]);
  await expect(serveLanes(parts, new AbortController().signal)).rejects.toMatchObject({ code: 'target_altered' });
});

test('where the spread ended meanwhile it looks for another, and is stopped by what it meets there', async () => {
  const stop = new AbortController();
  const over = laneOf([SPREAD]);
  const served = serveLanes(over.parts, stop.signal);
  await over.whenRested;
  stop.abort();
  await served;
  const second = { ...SPREAD, id: 'second' };
  const { parts } = laneOf([SPREAD, second, second, second]);
  await expect(serveLanes(parts, new AbortController().signal)).rejects.toMatchObject({ code: 'target_altered' });
});
