import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RestageError } from '#core/errors.ts';
import {
  nextRecord,
  otherSide,
  parseJournal,
  type Evidence,
  type JournalEntry,
  type JournalRecord,
  type Side,
} from './journal.ts';
import { joinHands } from './join-hands.ts';
import { describeMigration } from './describe-migration.ts';
import { foldJournal, phaseOf, type OpenSwitch } from './state.ts';
import type { StepName } from './steps.ts';
import { runSwitch, type OperatorJournal, type SwitchHands } from './switch-run.ts';

class CrashSignal extends Error {}

interface Guard {
  isOpen: boolean;
  /** Closed until then; null: for good. */
  until: number | null;
  term: number;
}

/** Two databases, the way there and the way back, in memory. Each `line` is one durable change, before or after which an operator may die. */
class World {
  now = 0;
  readonly guards: Record<Side, Guard> = {
    source: { isOpen: true, until: null, term: 0 },
    target: { isOpen: false, until: null, term: 0 },
  };
  /** Whether the sink that writes into a side may. */
  readonly gates: Record<Side, boolean> = { source: false, target: true };
  /** What the sink that writes into a side leaves out: all up to here was there already. */
  readonly marks: Record<Side, number> = { source: 0, target: 0 };
  readonly rows: Record<Side, Set<number>> = { source: new Set(), target: new Set() };
  /** Acknowledged writes, and what sinks wrote, in the order of each side's commits. */
  readonly wal: Record<Side, number[]> = { source: [], target: [] };
  /** How much of the other side's WAL is applied at a side. */
  readonly applied: Record<Side, number> = { source: 0, target: 0 };
  readonly records: JournalRecord[] = [];
  readonly acknowledged: number[] = [];
  readonly violations: string[] = [];

  isWritable(side: Side): boolean {
    const { isOpen, until } = this.guards[side];
    return isOpen || (until !== null && this.now >= until);
  }

  /** The world goes on: time, one write on each side that takes one, sinks that apply. */
  turn(ms: number): void {
    this.now += ms;
    const open = (['source', 'target'] as const).filter((side) => this.isWritable(side));
    if (open.length > 1) this.violations.push(`both sides are writable at ${this.now}`);
    for (const side of open) {
      const row = this.acknowledged.length;
      this.acknowledged.push(row);
      this.rows[side].add(row);
      this.wal[side].push(row);
    }
    if (ms % 2 === 0) for (const side of ['source', 'target'] as const) this.apply(side);
  }

  apply(side: Side): void {
    if (!this.gates[side]) return;
    const theirs = this.wal[otherSide(side)];
    const from = Math.max(this.applied[side], this.marks[side]);
    for (const row of theirs.slice(from)) {
      if (this.rows[side].has(row)) this.violations.push(`an echo of row ${row} at the ${side}`);
      this.rows[side].add(row);
      this.wal[side].push(row);
    }
    this.applied[side] = theirs.length;
  }
}

/** A process: dies before its `dieAt`th line; `between` runs at its `pauseAt`th. Each line is a moment of all worlds that it knows. */
class Life {
  readonly #worlds: readonly World[];
  readonly #schedule: Schedule;
  #lines = 0;
  isDead = false;

  constructor(worlds: readonly World[], schedule: Schedule) {
    this.#worlds = worlds;
    this.#schedule = schedule;
  }

  async line(change: () => void): Promise<void> {
    if (this.isDead) throw new CrashSignal('died');
    const { pace, pauseAt, dieAt, failAt, between } = this.#schedule;
    this.#lines += 1;
    const at = this.#lines;
    for (const world of this.#worlds) world.turn(pace);
    if (at === pauseAt) await between();
    if (at === dieAt) this.isDead = true;
    if (this.isDead) throw new CrashSignal('died');
    if (at === failAt) throw new Error('a connection was lost');
    change();
    for (const world of this.#worlds) world.turn(pace);
    if (-at === failAt) throw new Error('the answer was lost');
  }
}

/** One operator: its journal and hands. */
class Operator implements OperatorJournal, SwitchHands {
  readonly term: number;
  readonly #world: World;
  readonly #life: Life;

  constructor(world: World, life: Life) {
    this.#world = world;
    this.#life = life;
    const { guards } = world;
    this.term = Math.max(guards.source.term, guards.target.term) + 1;
    guards.target.term = this.term;
    guards.source.term = this.term;
  }

  line(change: () => void, side: Side = 'target'): Promise<void> {
    return this.#life.line(() => {
      if (this.#world.guards[side].term !== this.term)
        throw new RestageError('operator_lost', 'a later operator is at work');
      change();
    });
  }

  read(): Promise<readonly JournalRecord[]> {
    if (this.#life.isDead) return Promise.reject(new CrashSignal('died'));
    if (this.#world.guards.target.term !== this.term)
      return Promise.reject(new RestageError('operator_lost', 'a later operator is at work'));
    return Promise.resolve([...this.#world.records]);
  }

  async append(entry: JournalEntry): Promise<JournalRecord> {
    const { records, now } = this.#world;
    await this.line(() => {
      records.push(
        nextRecord(records.at(-1) ?? null, entry, { at: new Date(now).toISOString(), by: 'me', term: this.term }),
      );
    });
    return records.at(-1) as JournalRecord;
  }

  async run(step: StepName, { to, timeBoxMs }: OpenSwitch): Promise<Evidence> {
    const world = this.#world;
    const from = otherSide(to);
    const guard = world.guards[from];
    switch (step) {
      case 'fence':
        await this.line(() => Object.assign(guard, { isOpen: false, until: world.now + timeBoxMs }), from);
        return {};
      case 'drain':
        world.apply(to);
        return {};
      case 'freeze':
        await this.line(() => (world.gates[to] = false), to);
        return {};
      case 'mark':
        await this.line(() => (world.marks[from] = world.wal[to].length), from);
        return {};
      case 'seal':
        await this.line(() => {
          if (guard.isOpen || guard.until === null || world.now >= guard.until)
            throw new RestageError('fence_ended', 'the fence ended before it was sealed');
          guard.until = null;
        }, from);
        return {};
      case 'open':
        await this.line(() => Object.assign(world.guards[to], { isOpen: true, until: null }), to);
        return {};
      case 'follow':
        await this.line(() => (world.gates[from] = true), from);
        return {};
      case 'objects':
      case 'refresh':
      case 'analyze':
      case 'lastObjects':
      case 'hold':
      case 'verify':
      case 'sequences':
      case 'finish':
      case 'flip':
        await this.line(() => undefined);
        return {};
    }
  }

  async undo(step: StepName, { to }: OpenSwitch): Promise<Evidence> {
    const from = otherSide(to);
    if (step === 'fence')
      await this.line(() => Object.assign(this.#world.guards[from], { isOpen: true, until: null }), from);
    if (step === 'freeze') await this.line(() => (this.#world.gates[to] = true), to);
    return {};
  }
}

interface Schedule {
  readonly dieAt: number;
  /** Negative: the change is made and its answer is lost. */
  readonly failAt: number;
  readonly pauseAt: number;
  readonly between: () => Promise<void>;
  /** Milliseconds of the world at each line, twice. */
  readonly pace: number;
}

const CALM: Schedule = { dieAt: 0, failAt: 0, pauseAt: 0, between: () => Promise.resolve(), pace: 2 };

/** Of one target, or of several that are switched together: the first one's journal is that of all. */
async function operate(
  worlds: World | readonly World[],
  to: Side,
  schedule: Schedule,
  timeBoxMs = 1_000,
): Promise<unknown> {
  const all = worlds instanceof World ? [worlds] : worlds;
  const life = new Life(all, schedule);
  const operators = all.map((world) => new Operator(world, life));
  const [leader] = operators;
  if (leader === undefined) throw new Error('there is a world');
  try {
    await runSwitch({
      to,
      timeBoxMs,
      wayBack: true,
      journal: leader,
      hands: joinHands(operators.map((hands, at) => ({ name: `t${at}`, hands }))),
      guards: () => Promise.resolve(),
      say: () => undefined,
      failpoints: { hit: () => undefined },
      clock: () => all[0]?.now ?? 0,
      signal: new AbortController().signal,
    });
    return null;
  } catch (error) {
    return error;
  }
}

/** Everything that was acknowledged is on the live side, and arrives at the other. */
async function settle(worlds: World | readonly World[], to: Side): Promise<void> {
  const all = worlds instanceof World ? [worlds] : worlds;
  expect(await operate(all, to, CALM)).toBe(null);
  expect(foldJournal(all[0]?.records ?? [])).toMatchObject({ live: to, open: null });
  for (const world of all) {
    expect(world.violations).toEqual([]);
    expect(world.isWritable(to)).toBe(true);
    for (const row of world.acknowledged) expect(world.rows[to].has(row), `row ${row} on the live side`).toBe(true);
    world.apply(otherSide(to));
    expect(world.rows[otherSide(to)]).toEqual(world.rows[to]);
  }
}

test('there and back, and there again', async () => {
  const world = new World();
  world.turn(2);
  for (const to of ['target', 'source', 'target'] as const) await settle(world, to);
  expect(
    parseJournal(
      world.records.map((record) => JSON.stringify(record)),
      'memory',
    ),
  ).toEqual(world.records);
});

const point = fc.integer({ min: 0, max: 90 });
const attempt = fc.record({
  to: fc.constantFrom<Side>('source', 'target'),
  dieAt: point,
  failAt: fc.integer({ min: -90, max: 90 }),
  pauseAt: point,
  pace: fc.constantFrom(0, 1, 2, 8),
  timeBoxMs: fc.constantFrom(10, 60, 1_000),
  /** What another operator does while this one hangs. */
  other: fc.record({ to: fc.constantFrom<Side>('source', 'target'), dieAt: point }),
});

test.each([1, 2, 3])(
  'of %i targets, whatever dies, hangs or loses its answer, and whenever: never two writable sides, nothing acknowledged is lost, no echo',
  async (targets) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(attempt, { minLength: 1, maxLength: 4 }),
        fc.constantFrom<Side>('source', 'target'),
        async (attempts, last) => {
          const worlds = Array.from({ length: targets }, () => new World());
          for (const { to, timeBoxMs, other, ...schedule } of attempts) {
            const between = async (): Promise<void> =>
              void (await operate(worlds, other.to, { ...CALM, dieAt: other.dieAt }, timeBoxMs));
            await operate(worlds, to, { ...schedule, between }, timeBoxMs);
            for (let turn = 0; turn < 4; turn += 1) for (const world of worlds) world.turn(2);
          }
          // A switch past its point of no return is ended first.
          const { open } = foldJournal(worlds[0]?.records ?? []);
          if (open?.isCommitted === true) await settle(worlds, open.to);
          await settle(worlds, last);
        },
      ),
      { numRuns: Math.ceil(Number(process.env['RESTAGE_SCHEDULES'] ?? 400) / targets) },
    );
  },
);

test('each kill in the middle: the same command again ends it or undoes it', async () => {
  for (let dieAt = 1; dieAt <= 65; dieAt += 1) {
    const world = new World();
    await operate(world, 'target', { ...CALM, dieAt });
    await settle(world, 'target');
    await operate(world, 'source', { ...CALM, dieAt });
    await settle(world, 'source');
  }
});

test('a journal that somebody changed is refused', () => {
  const records: JournalRecord[] = [];
  for (const entry of [
    { kind: 'prepared', wayBack: true },
    { kind: 'begun', to: 'target', timeBoxMs: 5, wayBack: true },
    { kind: 'done', step: 'drain', ms: 3, evidence: { lsn: '0/1', a: 1 } },
  ] as const)
    records.push(nextRecord(records.at(-1) ?? null, entry, { at: '2026-11-28T00:00:00Z', by: 'me', term: 1 }));
  const texts = records.map((record) => JSON.stringify(record));
  expect(parseJournal(texts, 'here')).toEqual(records);
  for (const wrong of [texts.slice(1), [texts[0], texts[2]], texts.map((text) => text.replace('0/1', '0/2')), ['x']])
    expect(() => parseJournal(wrong as string[], 'here')).toThrow(/altered/);
  expect(() => parseJournal([JSON.stringify({ ...records[0], entry: { kind: 'teleported' } })], 'here')).toThrow(
    /does not know/,
  );
});

test('where it is, what next, and whether it can be gone back', async () => {
  const world = new World();
  const told = (): string[] => {
    const state = foldJournal(world.records);
    const { phase, back } = describeMigration(state, { copy: 'streaming', isVerifying: false, forecast: null });
    return [phase, back.split(':')[0] ?? ''];
  };
  expect(told()).toEqual(['STREAMING', 'nothing to go back from']);
  expect(phaseOf(foldJournal(world.records), 'streaming', true)).toBe('VERIFYING');
  await operate(world, 'target', { ...CALM, dieAt: 8 });
  expect(told()).toEqual(['SWITCHING', 'yes']);
  await operate(world, 'target', CALM);
  expect(told()).toEqual(['SWITCHED', 'yes']);
  await operate(world, 'source', CALM);
  expect(told()).toEqual(['ROLLED_BACK', 'nothing to go back from']);
});
