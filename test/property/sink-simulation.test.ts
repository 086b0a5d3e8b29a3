import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Checkpoint } from '#adapters/postgres/target/target-state.ts';
import { lsnOf, type Lsn } from '#core/lsn.ts';
import { Choices, type Schedule } from '../harness/simulation/choices.ts';
import { MemoryKafka } from '../harness/simulation/memory-kafka.ts';
import { MemoryTarget, Tally } from '../harness/simulation/memory-target.ts';
import { FIRST_LSN, MemoryWal, RELATIONS, type Statement } from '../harness/simulation/memory-wal.ts';
import { producerLife, type SimulatedSource } from '../harness/simulation/producer-life.ts';
import { releaseLater, sinkLife, type HungLife, type SimulatedTarget } from '../harness/simulation/sink-life.ts';
import { statement } from '../harness/simulation/statements.ts';
import { RAW, TABLES } from '../harness/simulation/tables.ts';
import { copyStore, emptyStore, rowsOf, type TargetStore } from '../harness/simulation/target-store.ts';
import { TargetOracle } from '../harness/simulation/target-oracle.ts';
import { SHAPED, transformerLife } from '../harness/simulation/transformer-life.ts';

/** RESTAGE_SEED repeats a run, RESTAGE_SCHEDULES=100000 makes it longer. */
const SEED = Number(process.env['RESTAGE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const SCHEDULES = Number(process.env['RESTAGE_SCHEDULES'] ?? 1_000);
/** Lives that may end badly; of those after them the first that goes well is the last. */
const LIVES = 6;
const MOST_LIVES = 20;
const TOPICS = TABLES.map(({ topic }) => topic);

const schedules = fc.record({
  transactions: fc.array(fc.array(statement, { maxLength: 6 }), { maxLength: 8 }),
  before: fc.nat(3),
  isShaped: fc.boolean(),
  /** Tables to load again, and after how many transactions that is asked for. */
  late: fc.array(fc.record({ tables: fc.integer({ min: 1, max: 3 }), after: fc.nat(8) }), { maxLength: 2 }),
  /** Rows whose number leaves this rest are refused once the load is done; 3: none are. */
  refused: fc.nat(3),
  /** Transactions after which somebody asks the sink to stand still. */
  holds: fc.array(fc.nat(8), { maxLength: 2 }),
  fates: fc.array(fc.nat(9), { maxLength: 60 }),
  /** What befalls the sink, and after how many steps without anything. */
  faults: fc.array(fc.record({ after: fc.nat(50), fate: fc.integer({ min: 1, max: 4 }) }), {
    maxLength: 8,
    size: 'max',
  }),
  pace: fc.array(fc.nat(23), { maxLength: 400 }),
  partitions: fc.constantFrom(1, 3),
});
type Plan = typeof schedules extends fc.Arbitrary<infer T> ? T : never;

const statementOf = (kind: Statement['kind'], table = 0): Statement => ({ kind, table, row: 0, isBig: false });

/** Schedules that lost rows once: an epoch that waited in nobody's hand was taken to be written. */
const FOUND: readonly Plan[] = [
  {
    transactions: [
      [statementOf('insert', 1)],
      [],
      [statementOf('insert')],
      [statementOf('barrier'), statementOf('insert')],
    ],
    before: 0,
    isShaped: false,
    late: [{ tables: 2, after: 0 }],
    refused: 0,
    holds: [],
    fates: [0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    faults: [],
    pace: [15],
    partitions: 1,
  },
  {
    transactions: [
      [],
      [],
      [],
      [statementOf('truncate'), statementOf('truncate')],
      [statementOf('barrier')],
      [
        statementOf('barrier'),
        statementOf('insert'),
        statementOf('truncate'),
        statementOf('insert', 1),
        statementOf('truncate'),
      ],
    ],
    before: 2,
    isShaped: false,
    late: [{ tables: 1, after: 0 }],
    refused: 0,
    holds: [],
    fates: [],
    faults: [],
    pace: [7],
    partitions: 1,
  },
];

describe('any schedule of deaths, lost answers, hangs and traffic', () => {
  it(
    'leaves the target as the source is, and every state that it shows is one of the source',
    { timeout: 7_200_000 },
    async () => {
      const tally = new Tally();
      await fc.assert(
        fc.asyncProperty(schedules, async (plan) => {
          expect(await faultsAfter(plan, tally)).toEqual([]);
        }),
        { seed: SEED, numRuns: SCHEDULES, examples: FOUND.map((plan) => [plan]) },
      );
      const counts = Object.fromEntries(tally.counts);
      if (process.env['RESTAGE_SCHEDULES'] !== undefined) process.stdout.write(`${JSON.stringify(counts)}\n`);
      for (const what of [
        'deaths',
        'hangs',
        'lost answers',
        'errors of the target',
        'dead letters',
        'holds',
        'late loads',
      ])
        expect(counts[what] ?? 0, `RESTAGE_SEED=${SEED}: hardly any ${what}`).toBeGreaterThan(SCHEDULES / 20);
    },
  );
});

const SABOTAGE: Record<string, (store: TargetStore) => void> = {
  'a row is lost': (store) => rowsOf(store, TOPICS[0] ?? '').delete('["2"]'),
  'a row is there that no event made': (store) => rowsOf(store, TOPICS[1] ?? '').set('["9"]', new Map([['id', '9']])),
  'a value is another': (store) =>
    rowsOf(store, TOPICS[0] ?? '').set(
      '["2"]',
      new Map([
        ['id', '2'],
        ['v', 'other'],
      ]),
    ),
  'a transaction is torn': (store) => {
    rowsOf(store, TOPICS[0] ?? '').set(
      '["4"]',
      new Map([
        ['id', '4'],
        ['v', '3.0'],
      ]),
    );
  },
  'the position goes back': (store) => move(store, { through: FIRST_LSN }),
  'the position moves without its data': (store) => move(store, { through: lsnOf(1_000_000n) }),
  'a position is read again': (store) => move(store, { nextOffset: 0n }),
};

describe('the oracle', () => {
  it.each(Object.keys(SABOTAGE))('sees that %s', (name) => {
    const insert = (table: number): Statement => ({ kind: 'insert', table, row: 0, isBig: false });
    const wal = new MemoryWal([[insert(0)], [insert(0)], [insert(0)], [insert(0), insert(1)]]);
    const oracle = new TargetOracle(wal, TOPICS);
    const before = storeAt(wal, 3);
    oracle.see(before, before);
    expect(oracle.faults).toEqual([]);
    const after = copyStore(before);
    SABOTAGE[name]?.(after);
    oracle.see(after, before);
    expect(oracle.faults).not.toEqual([]);
  });
});

/** A target that has so many transactions. */
function storeAt(wal: MemoryWal, transactions: number): TargetStore {
  const through = wal.endOf(transactions);
  const position = { incarnation: 'life', pass: 2, planOffset: 4n, nextOffset: 20n } as const;
  const store: TargetStore = { ...emptyStore(), checkpoint: { ...position, through, isLoadDone: true } };
  for (const [index, topic] of TOPICS.entries())
    for (const [id, value] of wal.rowsAt(through, RELATIONS[index] ?? 0))
      rowsOf(store, topic).set(
        `["${id}"]`,
        new Map([
          ['id', String(id)],
          ['v', value],
        ]),
      );
  return store;
}

function move(store: TargetStore, to: Partial<Checkpoint>): void {
  if (store.checkpoint !== null) store.checkpoint = { ...store.checkpoint, ...to };
}

async function faultsAfter(plan: Plan, tally: Tally): Promise<string[]> {
  // A late load goes past what waits, and a transformer's topics have it in their order: each by itself.
  const isShaped = plan.isShaped && plan.late.length === 0;
  const mayRefuse = plan.refused < 3 && plan.late.length === 0;
  const wal = new MemoryWal(plan.transactions);
  const kafka = new MemoryKafka(plan.partitions);
  const requests = plan.late.map(({ tables, after }, index) => ({
    id: `request ${index}`,
    tables: TABLES.filter((_, at) => (tables & (1 << at)) !== 0),
    after: Math.min(after, plan.transactions.length),
  }));
  const committed = Math.min(plan.before, plan.transactions.length);
  const source: SimulatedSource = { wal, kafka, committed, slot: null, requests };
  const oracle = new TargetOracle(wal, isShaped ? [`${SHAPED}.public.renamed`, `${SHAPED}.public.t1`] : TOPICS);
  const target = new MemoryTarget((after, before) => oracle.see(after, before));
  const around: SimulatedTarget = {
    kafka,
    prefix: isShaped ? SHAPED : RAW,
    target,
    refuses: (row) => mayRefuse && Number(row.get('id')) % 3 === plan.refused,
    sent: new Set(),
    tally,
    holds: plan.holds.map((after) => wal.endOf(Math.min(after, plan.transactions.length))).toSorted(compareLsns),
    onHeld: (lsn) => {
      tally.add('holds');
      if ((target.store.checkpoint?.through ?? 0n) < lsn) oracle.faults.push(`it stands before ${lsn}`);
    },
    tokens: 0,
  };
  const calm = new Choices([]);
  await live(source, around, {
    schedule: { fates: new Choices(plan.fates), pace: new Choices(plan.pace) },
    sinkFates: new Choices(plan.faults.flatMap(({ after, fate }) => [...Array.from({ length: after }, () => 0), fate])),
    isShaped,
  });
  expect(await producerLife(source, { fates: calm, pace: calm })).toBe(true);
  if (isShaped) expect(await transformerLife(kafka, { fates: calm, pace: calm })).toBe(true);
  await lastLife(around);
  const { store } = target;
  if (store.checkpoint?.isLoadDone !== true) oracle.faults.push('the load is not done');
  oracle.requireStateAt(wal.endOf(plan.transactions.length), store);
  oracle.requireReasons(store, around.sent, mayRefuse);
  if (store.letters.size > 0) tally.add('dead letters');
  tally.counts.set('late loads', (tally.counts.get('late loads') ?? 0) + plan.late.length);
  tally.counts.set('looks', (tally.counts.get('looks') ?? 0) + oracle.looks);
  return oracle.faults;
}

async function live(
  source: SimulatedSource,
  around: SimulatedTarget,
  { schedule, sinkFates, isShaped }: { schedule: Schedule; sinkFates: Choices; isShaped: boolean },
): Promise<void> {
  let hung: HungLife[] = [];
  for (let life = 0; life < LIVES; life += 1) {
    await producerLife(source, schedule);
    if (isShaped) await transformerLife(source.kafka, schedule);
    const waking = hung.map((one) => releaseLater(one, schedule.pace.of(24)));
    hung = [];
    const end = await sinkLife(around, sinkFates);
    if (end.how === 'hung') hung.push(end.hung);
    await Promise.all(waking);
  }
  await Promise.all(hung.map((one) => releaseLater(one, 0)));
}

async function lastLife(around: SimulatedTarget): Promise<void> {
  for (let life = 0; life < MOST_LIVES; life += 1)
    if ((await sinkLife(around, new Choices([]))).how === 'drained') return;
  throw new Error('no life of the sink ended well, though nothing happened to it');
}

function compareLsns(a: Lsn, b: Lsn): number {
  return a < b ? -1 : 1;
}
