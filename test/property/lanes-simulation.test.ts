import fc from 'fast-check';
import { expect, it } from 'vitest';
import { imageKey } from '#core/change.ts';
import type { HoldGate, HoldRequest } from '#core/control.ts';
import { laneOf } from '#core/lanes.ts';
import type { TableStructure } from '#core/structure.ts';
import { MemoryTopics, type TestChange } from '../harness/memory-topics.ts';
import { Choices, tick } from '../harness/simulation/choices.ts';
import { leadLives, serveLives, type LaneWorld } from '../harness/simulation/lane-lives.ts';
import { MemoryTarget, Tally } from '../harness/simulation/memory-target.ts';
import { rowsOf, type TargetStore } from '../harness/simulation/target-store.ts';
import { makeColumn, makeTable } from '../harness/structures.ts';

/** RESTAGE_SEED repeats the histories and fates of a run (its clock is the real one), RESTAGE_SCHEDULES=10000 makes it longer. */
const SEED = Number(process.env['RESTAGE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const SCHEDULES = Math.ceil(Number(process.env['RESTAGE_SCHEDULES'] ?? 600) / 10);
const PARTITIONS = 3;
const COLUMNS = [makeColumn('id', 'int4'), makeColumn('v', 'text')];
const TABLES = ['split', 'whole'].map((name): TableStructure => {
  const table = makeTable('test', name, COLUMNS);
  return { ...table, identity: { kind: 'primaryKey', columns: ['id'], isFull: false } };
});

const oneChange = fc.record({
  table: fc.nat(1),
  key: fc.nat(6),
  to: fc.nat(6),
  kind: fc.constantFrom('put', 'put', 'put', 'delete', 'rename'),
});
const transaction = fc.oneof(
  { weight: 12, arbitrary: fc.array(oneChange, { minLength: 1, maxLength: 5 }) },
  { weight: 1, arbitrary: fc.constantFrom('truncate' as const, 'empty' as const, 'barrier' as const) },
);
const schedules = fc.record({
  transactions: fc.array(transaction, { minLength: 1, maxLength: 40, size: 'max' }),
  lanes: fc.integer({ min: 1, max: 4 }),
  atOnce: fc.integer({ min: 1, max: 8 }),
  /** Before which of them somebody asks for one position. */
  holds: fc.array(fc.nat(40), { maxLength: 2 }),
  /** The last life keeps whole transactions, whatever is open. */
  goesBack: fc.boolean(),
  faults: fc.array(fc.record({ after: fc.nat(80), fate: fc.integer({ min: 1, max: 4 }) }), {
    minLength: 1,
    maxLength: 10,
    size: 'max',
  }),
});
type Plan = typeof schedules extends fc.Arbitrary<infer T> ? T : never;
type Rows = ReadonlyMap<string, string>;

it(
  'lanes keep the order of each key, and meet at states of the source, whatever dies, hangs or loses an answer',
  { timeout: 7_200_000 },
  async () => {
    const tally = new Tally();
    await fc.assert(
      fc.asyncProperty(schedules, async (plan) => {
        expect(await faultsAfter(plan, tally)).toEqual([]);
      }),
      { seed: SEED, numRuns: SCHEDULES },
    );
    const counts = Object.fromEntries(tally.counts);
    if (process.env['RESTAGE_SCHEDULES'] !== undefined) process.stdout.write(`${JSON.stringify(counts)}\n`);
    for (const what of ['deaths', 'hangs', 'lost answers', 'errors of the target', 'looks apart', 'meetings'])
      expect(counts[what] ?? 0, `RESTAGE_SEED=${SEED}: no ${what}`).toBeGreaterThan(0);
  },
);

/** What the source has after each manifest, by `table id`. */
class Source {
  readonly topics: MemoryTopics;
  readonly states: Rows[] = [];
  #rows = new Map<string, string>();
  #commit = 100;
  #version = 0;

  constructor(atOnce: number) {
    this.topics = new MemoryTopics('life', atOnce);
    this.topics.plan(1, TABLES);
    for (const table of TABLES) this.topics.chunk(1, table, 0, []);
    for (const table of TABLES) this.topics.tableEnd(1, table, 10);
    this.topics.end(1);
    this.topics.empty(20);
    this.states.push(...Array.from({ length: 3 + 2 * TABLES.length }, () => new Map<string, string>()));
  }

  add(one: Plan['transactions'][number]): void {
    this.#commit += 10;
    if (one === 'empty') this.topics.empty(this.#commit);
    else if (one === 'barrier')
      this.topics.stream([], {
        control: [{ kind: 'barrier', commit: `0/${this.#commit.toString(16).toUpperCase()}`, ordinal: 1, id: 'b' }],
      });
    else if (one === 'truncate') this.#truncate();
    else this.#change(one);
    this.states.push(new Map(this.#rows));
  }

  get end(): bigint {
    return BigInt(this.states.length);
  }

  #truncate(): void {
    const [table] = TABLES;
    if (table === undefined) return;
    this.topics.stream([], { control: [this.topics.truncate([table], this.#commit)] });
    for (const id of this.#rows.keys()) if (id.startsWith('0 ')) this.#rows.delete(id);
  }

  #change(changes: Exclude<Plan['transactions'][number], string>): void {
    const written: TestChange[] = [];
    let joint = false;
    for (const { table, key, to, kind } of changes) {
      const structure = TABLES[table];
      if (structure === undefined) continue;
      const known = this.#rows.has(`${table} ${key}`);
      this.#version += 1;
      const v = String(this.#version);
      const base = { structure, commit: this.#commit, partition: key % PARTITIONS };
      if (kind === 'rename' && known && !this.#rows.has(`${table} ${to}`)) {
        joint = true;
        written.push({ ...base, op: 'u', before: { id: key }, after: { id: to, v }, partition: to % PARTITIONS });
        this.#rows.delete(`${table} ${key}`);
        this.#rows.set(`${table} ${to}`, v);
      } else if (kind === 'delete' && known) {
        written.push({ ...base, op: 'd', before: { id: key } });
        this.#rows.delete(`${table} ${key}`);
      } else {
        written.push({
          ...base,
          op: known ? 'u' : 'c',
          ...(known ? { before: { id: key } } : {}),
          after: { id: key, v },
        });
        this.#rows.set(`${table} ${key}`, v);
      }
    }
    this.topics.stream(written, joint ? { joint } : {});
  }
}

/** What a reader of the target sees that it must not. */
function lookAt({ states }: Source, store: TargetStore, tally: Tally): string[] {
  const { checkpoint, spread, lanes } = store;
  if (checkpoint === null || checkpoint.pass === 1) return [];
  tally.add(spread === null ? 'looks together' : 'looks apart');
  const faults: string[] = [];
  for (const [index, { topic }] of TABLES.entries())
    for (let id = 0; id <= 6; id += 1) {
      const lane =
        spread === null
          ? null
          : lanes.get(
              laneOf({ lanes: spread.spread.lanes, split: new Set(spread.spread.split) }, topic, id % PARTITIONS),
            );
      const next = lane?.nextOffset ?? checkpoint.nextOffset;
      if (next < checkpoint.nextOffset) faults.push(`a lane is at ${next}, the checkpoint at ${checkpoint.nextOffset}`);
      const expected = states[Number(next) - 1]?.get(`${index} ${id}`);
      const found =
        rowsOf(store, topic)
          .get(imageKey(new Map([['id', String(id)]]), ['id']))
          ?.get('v') ?? undefined;
      if (found !== expected) faults.push(`table ${index}, row ${id} at ${next}: ${found}, not ${expected}`);
    }
  return faults;
}

async function faultsAfter(plan: Plan, tally: Tally): Promise<string[]> {
  const source = new Source(plan.atOnce);
  const faults: string[] = [];
  const target = new MemoryTarget((after, before) => {
    if (after.spread === null && before.spread !== null) tally.add('meetings');
    faults.push(...lookAt(source, after, tally));
  });
  const hold = new Holds();
  const fates = plan.faults.flatMap(({ after, fate }) => [...Array.from({ length: after }, () => 0), fate]);
  const world: LaneWorld = {
    topics: source.topics,
    target,
    tally,
    fates: new Choices(fates),
    hold,
    leases: new Map(),
    tokens: 0,
  };
  const stop = new AbortController();
  const serving = [1, 2].map(() => serveLives(world, plan.lanes, stop.signal));
  const leading = new AbortController();
  const leads = leadLives(world, plan.lanes, leading.signal);
  const failed = Promise.all([...serving, leads]).then(() => new Promise<never>(() => undefined));
  try {
    await Promise.race([failed, drive(plan, source, hold)]);
    if (plan.goesBack) {
      leading.abort();
      await leads;
      stop.abort();
      await Promise.all(serving);
      const last = new AbortController();
      const back = leadLives(world, null, last.signal);
      await Promise.race([back, hold.ask()]);
      faults.push(...unmet(source, target.store));
      last.abort();
      await back;
    } else {
      await Promise.race([failed, reachEnd(source, target)]);
      await Promise.race([failed, hold.ask()]);
      faults.push(...unmet(source, target.store));
    }
  } finally {
    leading.abort();
    stop.abort();
    await Promise.allSettled([...serving, leads]);
  }
  return [...new Set(faults)];
}

async function drive(plan: Plan, source: Source, hold: Holds): Promise<void> {
  for (const [index, one] of plan.transactions.entries()) {
    if (plan.holds.includes(index)) {
      await hold.ask();
      hold.release();
    }
    source.add(one);
    await tick();
  }
}

async function reachEnd(source: Source, target: MemoryTarget): Promise<void> {
  for (;;) {
    const { checkpoint, spread, lanes } = target.store;
    const ends =
      spread === null ? [checkpoint?.nextOffset ?? 0n] : [...lanes.values()].map(({ nextOffset }) => nextOffset);
    // A source at rest is stored once in a while: the last of it may be known to the sink alone.
    if (ends.every((next) => next >= source.end - 2n)) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function unmet(source: Source, store: TargetStore): string[] {
  return store.spread === null && store.lanes.size === 0 ? [] : [`lanes are apart at the end, ${source.end}`];
}

/** Asks a sink to stand at one place, wherever. */
class Holds implements HoldGate {
  #request: HoldRequest | null = null;
  #change = new AbortController();
  #onHeld: (() => void) | null = null;
  #asked = 0;

  get request(): HoldRequest | null {
    return this.#request;
  }

  get changed(): AbortSignal {
    return this.#change.signal;
  }

  acknowledge(id: string | null): void {
    if (id !== null && id === this.#request?.id) this.#onHeld?.();
  }

  ask(): Promise<void> {
    this.#asked += 1;
    this.#set({ id: String(this.#asked), lsn: null });
    return new Promise((resolve) => (this.#onHeld = resolve));
  }

  release(): void {
    this.#set(null);
  }

  #set(request: HoldRequest | null): void {
    this.#request = request;
    const change = this.#change;
    this.#change = new AbortController();
    change.abort();
  }
}
