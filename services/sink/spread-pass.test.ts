import { pino } from 'pino';
import { expect, it } from 'vitest';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import { LagMeter } from '#core/lag-meter.ts';
import { LSN_ZERO } from '#core/lsn.ts';
import { newStatus } from '#core/status.ts';
import { MemoryTopics, SCHEMAS_TOPIC } from '../../test/harness/memory-topics.ts';
import { Choices, tick } from '../../test/harness/simulation/choices.ts';
import { memorySession } from '../../test/harness/simulation/memory-session.ts';
import { MemoryTarget, Tally, TargetLife } from '../../test/harness/simulation/memory-target.ts';
import { SpreadPass } from './spread-pass.ts';

it('ends where another has taken the target over: no lane goes on under it, so there is nothing to wait for', async () => {
  const topics = new MemoryTopics('life');
  topics.plan(1, []);
  const target = new MemoryTarget(() => undefined);
  const life = new TargetLife(new Choices([]), new Tally(), () => undefined);
  const session = memorySession(target.connect(life), 'first', () => false);
  await session.position.begin('life', 0n, LSN_ZERO);
  const pass = new SpreadPass(
    {
      reader: topics.reader,
      session,
      status: newStatus('sink', 'new'),
      lag: new LagMeter(SCHEMAS_TOPIC),
      hold: { request: null, changed: new AbortController().signal, acknowledge: () => undefined },
      isPaused: () => false,
      readTables: () => Promise.resolve([]),
      lanes: 2,
      clock: Date.now,
      failpoints: NO_FAILPOINTS,
      logger: pino({ level: 'silent' }),
      pollMs: 1,
    },
    null,
  );
  const stop = new AbortController();
  const run = pass.run({ nextOffset: 1n, through: LSN_ZERO, epoch: 1 }, stop.signal);
  while (target.store.spread === null) await tick();
  const other = memorySession(target.connect(life), 'second', () => false);
  await other.position.open();
  await expect(run).rejects.toMatchObject({ code: 'lease_lost' });
});
