import { describe, expect, it } from 'vitest';
import type { PauseGate } from '#core/control.ts';
import {
  announceEntry,
  changeEntry,
  loadedHistory,
  RAW,
  transformHistory,
  type MemoryHistory,
} from '../../test/harness/memory-history.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';
import { until } from '../../test/harness/until.ts';

const notes = makeTable(RAW, 'notes', [makeColumn('id', 'int4'), makeColumn('text', 'text')]);
const EPOCHS = 6;
/** More than what epochs are taken together for: each is a transaction of its own. */
const LARGE = 2 ** 21 + 2 ** 10;

describe('what follows a write to Kafka', () => {
  it('is shaped while the write goes on, one step ahead and never more, and never are two written', async () => {
    const kafka = largeEpochs();
    let reads = 0;
    let writing = 0;
    const ahead: number[] = [];
    await transformHistory(kafka, {
      rules: [],
      onRead: () => (reads += 1),
      whenWriting: async () => {
        writing += 1;
        expect(writing).toBe(1);
        if (streamed(kafka) >= 0 && streamed(kafka) < EPOCHS - 2) {
          const before = reads;
          await until(() => reads > before, { what: 'the next epoch to be read' });
          await turns();
          ahead.push(reads - before);
        }
        writing -= 1;
      },
    });
    expect(ahead).toEqual([1, 1, 1, 1]);
    expect(kafka.out.map(({ manifest }) => manifest.epoch).slice(-EPOCHS)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('is not written after a write that failed', async () => {
    const kafka = largeEpochs();
    const writes: number[] = [];
    const life = transformHistory(kafka, {
      rules: [],
      whenWriting: async () => {
        writes.push(streamed(kafka));
        await turns();
        if (streamed(kafka) === 2) throw new Error('the broker is gone');
      },
    });
    await expect(life).rejects.toThrow('the broker is gone');
    expect(streamed(kafka)).toBe(2);
    expect(writes.filter((count) => count === 2)).toHaveLength(1);
    await transformHistory(kafka, { rules: [] });
    expect(streamed(kafka)).toBe(EPOCHS);
  });

  it('waits behind a pause, which begins when the write has ended', async () => {
    const kafka = largeEpochs();
    let isWriting = false;
    const paused: number[] = [];
    const gate: { -readonly [K in keyof PauseGate]: PauseGate[K] } = {
      isPaused: false,
      whenRunning: () => {
        expect(isWriting).toBe(false);
        if (gate.isPaused) paused.push(streamed(kafka));
        gate.isPaused = false;
        return Promise.resolve();
      },
    };
    await transformHistory(kafka, {
      rules: [],
      gate,
      whenWriting: async () => {
        isWriting = true;
        if (streamed(kafka) === 3) gate.isPaused = true;
        await turns();
        isWriting = false;
      },
    });
    // One was being shaped when it was asked for, and is not thrown away.
    expect(paused).toEqual([5]);
    expect(streamed(kafka)).toBe(EPOCHS);
  });
});

function largeEpochs(): MemoryHistory {
  return loadedHistory(
    [[notes, []]],
    Array.from({ length: EPOCHS }, (_, index) => [
      announceEntry(notes),
      changeEntry(notes, 'c', [String(index), 'x'.repeat(LARGE)], { commit: 0x40 + index }),
    ]),
  );
}

/** Epochs of the stream that are written; below 0 while the load is. */
function streamed({ out }: MemoryHistory): number {
  const count = out.filter(({ manifest }) => manifest.kind === 'stream').length;
  return out.some(({ manifest }) => manifest.kind === 'end') ? count : -1;
}

/** Long enough for whatever goes on by itself. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
