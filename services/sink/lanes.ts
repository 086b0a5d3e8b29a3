import type { Spread } from '#adapters/postgres/target/spread-state.ts';
import { pause } from '#core/backoff.ts';
import { reactTo } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Lease } from '#core/lease.ts';
import type { Logger } from '#core/log.ts';
import { newStatus } from '#core/status.ts';
import { supervise } from '#core/supervise.ts';
import { whileGuarded } from '#core/while-guarded.ts';
import { LanePass } from './lane-pass.ts';
import type { LaneSession } from './lane-target.ts';
import { needsReplica } from './needs-replica.ts';
import { StructureBook } from './structure-book.ts';

/** What a lane reads: of its own, so that lanes do not wait for each other's polls. */
export interface LaneFeed {
  readonly reader: EpochReader;
  readonly readStructures: () => Promise<Iterable<Buffer>>;
  /** Fails where Kafka or its topics are no longer those of the history; until aborted. */
  readonly watch: (signal: AbortSignal) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** A lane's lease, or that of whichever lane is free. */
export interface LaneLease extends Lease {
  readonly lane: number;
}

export interface LaneParts {
  readonly target: string;
  readonly schemasTopic: string;
  /** So many lanes at once; `spare`: beyond what is this process's share, for lanes that nobody serves. */
  readonly leases: (kind: 'own' | 'spare') => LaneLease;
  readonly own: number;
  readonly spare: number;
  readonly open: (lane: number, lease: Lease) => Promise<LaneSession>;
  readonly feed: (lane: number) => LaneFeed;
  readonly pace: LanePace;
  readonly clock: () => number;
  readonly failpoints: Failpoints;
  readonly logger: Logger;
}

/** Milliseconds. */
export interface LanePace {
  /** How often a lane that has nothing to do looks for a spread: soon after the one before … */
  readonly firstLookMs: number;
  /** … then less often. */
  readonly lastLookMs: number;
  /** What had nothing for a lane is stored after so long. */
  readonly restMs: number;
}

/** Serves lanes of a target, each under a lease, until aborted or until one meets what does not pass by itself. */
export async function serveLanes(parts: LaneParts, signal: AbortSignal): Promise<void> {
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const slots = [...slotsOf('own', parts.own), ...slotsOf('spare', parts.spare)];
  const ends = await Promise.allSettled(
    slots.map(async (kind) => {
      try {
        await serveSlot(parts, kind, both);
      } catch (error) {
        failed.abort();
        throw error;
      }
    }),
  );
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

type SlotKind = 'own' | 'spare';

function slotsOf(kind: SlotKind, count: number): SlotKind[] {
  return Array.from({ length: count }, () => kind);
}

async function serveSlot(parts: LaneParts, kind: SlotKind, signal: AbortSignal): Promise<void> {
  const { logger, clock } = parts;
  const lease = parts.leases(kind);
  // The word about the target is the main loop's: a lane's own state is nobody's.
  const status = newStatus('sink', parts.target);
  try {
    const attempt = async (): Promise<void> => {
      await lease.acquire(signal, () => undefined);
      const held = AbortSignal.any([signal, lease.lost]);
      await serveLane(parts, lease, kind, held);
      if (lease.lost.aborted && !signal.aborted)
        throw new RestageError('lease_lost', `lane ${lease.lane} lost its lease in the target`);
      // Whoever has room for it may come for it now.
      await lease.release();
    };
    while (!signal.aborted) await supervise({ status, logger, signal, lease, clock }, attempt);
  } finally {
    await lease.release();
  }
}

/** Spread after spread; a spare one only until the first is over. */
async function serveLane(parts: LaneParts, lease: LaneLease, kind: SlotKind, signal: AbortSignal): Promise<void> {
  const { lane } = lease;
  const session = await parts.open(lane, lease);
  const feed = parts.feed(lane);
  try {
    if (!(await session.takeover.actAsReplica())) throw needsReplica(parts.target);
    await session.takeover.endStale();
    for (let done = ''; !signal.aborted;) {
      const spread = await whenOpen(session, done, parts.pace, signal);
      if (spread === null) return;
      if (await isDone(parts, { lane, session, feed, spread }, signal)) {
        done = spread.id;
        if (kind === 'spare') return;
      } else if (!signal.aborted && (await session.lane.spread())?.id === spread.id)
        throw new RestageError('fenced', `another process took lane ${lane} over`, { where: 'restage.lane' });
    }
  } finally {
    await Promise.all([session.end(), feed.close()]);
  }
}

interface LaneTools {
  readonly lane: number;
  readonly session: LaneSession;
  readonly feed: LaneFeed;
  readonly spread: Spread;
}

/** False where the lane may have more to do in this spread, once somebody leads it again. */
async function isDone(parts: LaneParts, tools: LaneTools, signal: AbortSignal): Promise<boolean> {
  const { lane, session, feed, spread } = tools;
  if (lane >= spread.lanes) return true;
  const from = await session.lane.take(spread);
  if (from === null) return true;
  const structures = new StructureBook(feed.reader, parts.schemasTopic, await feed.readStructures());
  const loads = await session.loads.tables();
  const pass = new LanePass(
    { ...parts, ...tools, reader: feed.reader, structures, loads, restMs: parts.pace.restMs },
    from,
  );
  const ends: string[] = [];
  try {
    await whileGuarded(
      signal,
      (until) => feed.watch(until),
      async (until) => void ends.push(await pass.run(until)),
    );
  } catch (error) {
    if (reactTo(error).do === 'stop') await requireOpen(tools);
    throw error;
  }
  return ends[0] === 'done';
}

/**
 * A lane of a spread that ended while it looked, as by a forced replay, saw half of what it knew: nothing that it says of that stops it.
 * @throws RestageError lease_lost.
 */
async function requireOpen({ lane, session, spread }: LaneTools): Promise<void> {
  await session.transaction.rollback().catch(() => undefined);
  if ((await session.lane.spread())?.id === spread.id) return;
  throw new RestageError('lease_lost', `the spread of lane ${lane} is over`, { where: 'restage.spread' });
}

/** A spread that somebody leads, other than the one that is done; null when aborted before. */
async function whenOpen(
  session: LaneSession,
  done: string,
  { firstLookMs, lastLookMs }: LanePace,
  signal: AbortSignal,
): Promise<Spread | null> {
  for (let look = firstLookMs; !signal.aborted; look = Math.min(lastLookMs, look * 1.5)) {
    const spread = await session.lane.spread();
    if (spread !== null && spread.id !== done) return spread;
    await pause(look, signal);
  }
  return null;
}
