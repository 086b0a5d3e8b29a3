import { setImmediate as immediate } from 'node:timers/promises';
import { pino } from 'pino';
import type { TargetConfig } from '#core/config.ts';
import type { HoldGate, HoldRequest } from '#core/control.ts';
import { reactTo } from '#core/error-policy.ts';
import { LagMeter } from '#core/lag-meter.ts';
import type { Lsn } from '#core/lsn.ts';
import { newStatus } from '#core/status.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { attemptSink, type AttemptParts } from '../../../services/sink/sink-attempt.ts';
import type { Choices } from './choices.ts';
import { Death, type MemoryKafka } from './memory-kafka.ts';
import { memorySession, type Refuses } from './memory-session.ts';
import { TargetLife, type MemoryTarget, type Tally } from './memory-target.ts';

/** What outlives a sink: Kafka, the target, and what was sent to the topic of dead letters. */
export interface SimulatedTarget {
  readonly kafka: MemoryKafka;
  /** Prefix of the topics that it reads. */
  readonly prefix: string;
  readonly target: MemoryTarget;
  readonly refuses: Refuses;
  readonly sent: Set<string>;
  readonly tally: Tally;
  /** LSNs at which somebody asks it to stand still. */
  readonly holds: Lsn[];
  readonly onHeld: (lsn: Lsn) => void;
  tokens: number;
}

/** A life that hangs in a step while others go on; to be released, and then waited for. */
export interface HungLife {
  readonly release: () => void;
  readonly ended: Promise<unknown>;
}

export type LifeEnd = { readonly how: 'drained' | 'failed' } | { readonly how: 'hung'; readonly hung: HungLife };

/** One attempt over what the topics hold now. */
export async function sinkLife(around: SimulatedTarget, fates: Choices): Promise<LifeEnd> {
  const { target, tally } = around;
  const life = new TargetLife(fates, tally, (dead) => target.end((connection) => connection.life === dead));
  const ended = attempt(around, life);
  const how = await Promise.race([ended, life.hung.then(() => 'hung' as const)]);
  if (how !== 'hung') return { how };
  return { how, hung: { release: () => life.release(), ended } };
}

async function attempt(around: SimulatedTarget, life: TargetLife): Promise<'drained' | 'failed'> {
  const stop = new AbortController();
  try {
    await attemptSink(partsOf(around, life, stop), stop.signal);
    return 'drained';
  } catch (error) {
    if (error instanceof Death || reactTo(error).do === 'retry') return 'failed';
    throw error;
  } finally {
    stop.abort();
  }
}

function partsOf(around: SimulatedTarget, life: TargetLife, stop: AbortController): AttemptParts {
  const { kafka, prefix, target, refuses, sent } = around;
  const step = (name: string): Promise<void> => life.step(name);
  around.tokens += 1;
  const token = `token ${around.tokens}`;
  const config: TargetConfig = {
    name: 'new',
    url: '',
    output: null,
    schema: 'require',
    loadWorkers: 2,
    quarantine: 'transaction',
  };
  return {
    pipeline: 'sim',
    target: config,
    reader: kafka.reader(prefix, () => stop.abort()),
    schemasTopic: schemasTopic(prefix),
    readStructures: () => Promise.resolve(kafka.values(schemasTopic(prefix))),
    sessions: {
      open: async () => {
        await step('connect');
        return memorySession(target.connect(life), token, refuses);
      },
      addLabels: () => Promise.resolve(),
    },
    lag: new LagMeter(schemasTopic(prefix)),
    schema: {
      makesTables: true,
      preData: () => step('preData'),
      postLoad: () => step('postLoad'),
      whenCaughtUp: () => step('whenCaughtUp'),
    },
    status: newStatus('sink', 'new'),
    gate: { isPaused: false, whenRunning: () => immediate() },
    hold: holdGate(around, stop.signal),
    logger: pino({ level: 'silent' }),
    failpoints: { hit: (name) => life.pass(name) },
    clock: () => 0,
    sendDeadLetters: async (letters) => {
      await step('send');
      for (const { id } of letters) sent.add(id);
    },
  };
}

/** Asks one after another, and looks as soon as the sink says that it stands. */
function holdGate({ holds, onHeld }: SimulatedTarget, signal: AbortSignal): HoldGate {
  let change = new AbortController();
  const asked = (): HoldRequest | null => {
    const [lsn] = holds;
    return lsn === undefined ? null : { id: String(lsn), lsn };
  };
  return {
    get request() {
      return signal.aborted ? null : asked();
    },
    get changed() {
      return change.signal;
    },
    acknowledge(id) {
      const [lsn] = holds;
      if (id === null || lsn === undefined) return;
      onHeld(lsn);
      holds.shift();
      change.abort();
      change = new AbortController();
    },
  };
}

/** Where a life hung, the next one begins; it goes on in the midst of that one. */
export async function releaseLater(hung: HungLife, ticks: number): Promise<unknown> {
  for (let left = ticks; left > 0; left -= 1) await immediate();
  hung.release();
  return hung.ended;
}
