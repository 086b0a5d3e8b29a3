import { pino } from 'pino';
import type { HoldGate } from '#core/control.ts';
import { reactTo } from '#core/error-policy.ts';
import { LagMeter } from '#core/lag-meter.ts';
import { newStatus } from '#core/status.ts';
import { serveLanes, type LaneLease, type LaneParts } from '../../../services/sink/lanes.ts';
import { attemptSink } from '../../../services/sink/sink-attempt.ts';
import { SCHEMAS_TOPIC, type MemoryTopics } from '../memory-topics.ts';
import { tick, type Choices } from './choices.ts';
import { Death } from './memory-kafka.ts';
import { memoryLane } from './memory-lane.ts';
import { memorySession } from './memory-session.ts';
import { TargetLife, type MemoryTarget, type Tally } from './memory-target.ts';

const SILENT = pino({ level: 'silent' });
const PACE = { firstLookMs: 1, lastLookMs: 1, restMs: 1 };

/** What the lives of a target's sinks share. */
export interface LaneWorld {
  readonly topics: MemoryTopics;
  readonly target: MemoryTarget;
  readonly tally: Tally;
  readonly fates: Choices;
  readonly hold: HoldGate;
  /** By their names: who has them. */
  readonly leases: Map<number, TargetLife>;
  tokens: number;
}

/** Lives of the main loop, one after another; the one that hangs goes on beside its successor. */
export function leadLives(world: LaneWorld, lanes: number | null, signal: AbortSignal): Promise<void> {
  return liveOn(world, signal, async (life, until) => {
    const { topics, target, hold } = world;
    const token = nextToken(world);
    const step = (name: string): Promise<void> => life.step(name);
    await attemptSink(
      {
        pipeline: 'sim',
        target: { name: 'new', url: '', output: null, schema: 'require', loadWorkers: 1 },
        reader: topics.reader,
        schemasTopic: SCHEMAS_TOPIC,
        readStructures: () => Promise.resolve(topics.structures()),
        sessions: {
          open: async () => {
            await step('connect');
            return memorySession(target.connect(life), token, () => false);
          },
          addLabels: () => Promise.resolve(),
        },
        lag: new LagMeter(SCHEMAS_TOPIC),
        schema: {
          makesTables: true,
          preData: () => step('preData'),
          postLoad: () => step('postLoad'),
          whenCaughtUp: () => step('whenCaughtUp'),
        },
        status: newStatus('sink', 'new'),
        gate: { isPaused: false, whenRunning: tick },
        hold,
        logger: SILENT,
        failpoints: { hit: (name) => life.pass(name) },
        clock: Date.now,
        lanesPollMs: 1,
        ...(lanes === null
          ? { serveLanes: (count: number, ended: AbortSignal) => serveLanes(lanesOf(world, life, count), ended) }
          : { lanes }),
      },
      until,
    );
  });
}

/** Lives of a process that serves as many of the lanes as it gets. */
export function serveLives(world: LaneWorld, lanes: number, signal: AbortSignal): Promise<void> {
  return liveOn(world, signal, (life, until) => serveLanes(lanesOf(world, life, lanes), until));
}

function lanesOf(world: LaneWorld, life: TargetLife, lanes: number): LaneParts {
  const { topics, target } = world;
  return {
    target: 'new',
    schemasTopic: SCHEMAS_TOPIC,
    own: lanes,
    spare: 0,
    leases: () => leaseOf(world, life, lanes),
    open: async (lane) => {
      await life.step('connect');
      return memoryLane(target.connect(life, `lane ${lane}`), lane, nextToken(world));
    },
    feed: () => ({
      reader: topics.reader,
      readStructures: () => Promise.resolve(topics.structures()),
      watch: whenAborted,
      close: () => Promise.resolve(),
    }),
    pace: PACE,
    clock: Date.now,
    failpoints: { hit: (name) => life.pass(name) },
    logger: SILENT,
  };
}

function leaseOf({ leases }: LaneWorld, life: TargetLife, lanes: number): LaneLease {
  let lane = -1;
  return {
    lost: new AbortController().signal,
    get lane() {
      return lane;
    },
    async acquire(signal) {
      if (lane !== -1 && leases.get(lane) === life) return;
      for (;;) {
        signal.throwIfAborted();
        for (let free = 0; free < lanes; free += 1) {
          if (leases.has(free)) continue;
          leases.set(free, life);
          lane = free;
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
    release() {
      if (leases.get(lane) === life) leases.delete(lane);
      lane = -1;
      return Promise.resolve();
    },
  };
}

async function liveOn(
  world: LaneWorld,
  signal: AbortSignal,
  live: (life: TargetLife, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { target, tally, fates, leases } = world;
  const hung: { readonly life: TargetLife; readonly ended: Promise<unknown> }[] = [];
  while (!signal.aborted) {
    const ended = new AbortController();
    const life = new TargetLife(fates, tally, (dead) => target.end((connection) => connection.life === dead));
    const whole = live(life, AbortSignal.any([signal, ended.signal])).catch((error: unknown) => {
      if (error instanceof Death || signal.aborted || reactTo(error).do === 'retry') return;
      throw error;
    });
    const how = await Promise.race([whole.then(() => 'ended'), life.hung.then(() => 'hung')]);
    // Others may have its leases now: it does not know yet.
    for (const [lane, holder] of leases) if (holder === life) leases.delete(lane);
    if (how === 'hung') hung.push({ life, ended: whole.finally(() => ended.abort()) });
    else {
      ended.abort();
      for (const one of hung.splice(0)) one.life.release();
    }
    if (how === 'hung' && fates.of(2) === 0) setTimeout(() => life.release(), 5);
    await tick();
  }
  for (const { life } of hung) life.release();
  await Promise.all(hung.map((one) => one.ended));
}

function nextToken(world: LaneWorld): string {
  world.tokens += 1;
  return `token ${world.tokens}`;
}

function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
