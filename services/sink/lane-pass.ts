import type { LaneCounts, LanePosition, Spread } from '#adapters/postgres/target/spread-state.ts';
import type { TableLoad } from '#adapters/postgres/target/target-state.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { Failpoints } from '#core/failpoints.ts';
import { isJoint, laneOf, type LanePlan } from '#core/lanes.ts';
import { LSN_ZERO, maxLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import { applyPart, settleConstraints } from './epoch-apply.ts';
import { JoinedReader } from './joined-epochs.ts';
import type { LaneSession } from './lane-target.ts';
import { nextOrRest } from './next-or-rest.ts';
import { matchTables, readPart, type ReadPart, type StructureChanges } from './part-reader.ts';
import type { StructureBook } from './structure-book.ts';

export interface LanePassOptions {
  readonly lane: number;
  readonly spread: Spread;
  readonly reader: EpochReader;
  readonly structures: StructureBook;
  readonly schemasTopic: string;
  readonly session: LaneSession;
  readonly loads: ReadonlyMap<string, TableLoad>;
  readonly clock: () => number;
  readonly failpoints: Failpoints;
  /** What had nothing for this lane is stored after so many milliseconds: what waits for an LSN waits for every lane. */
  readonly restMs: number;
}

/** `done`: it stands where the spread ends. `over`: it may apply nothing more of it. `aborted`: neither is known. */
export type LaneEnd = 'done' | 'over' | 'aborted';

const NOTHING: LaneCounts = { insert: 0, update: 0, delete: 0 };

/**
 * One lane of a spread: its own ranges in the order of the stream, each step in one target transaction with the lane's position (invariant 2),
 * up to the next manifest that concerns more than one lane, or to where the lanes are asked to meet. Nothing is left out: a change that the
 * target refuses stops it.
 */
export class LanePass {
  readonly #options: LanePassOptions;
  readonly #plan: LanePlan;
  /** Applied, or nothing to apply; the target may know of less. */
  #at: LanePosition;
  /** What came after what the target knows of, and had nothing for this lane. */
  #passed: LanePosition[] = [];
  #until: bigint | null;
  #storedAt: number;

  constructor(options: LanePassOptions, from: LanePosition) {
    const { lanes, split, until } = options.spread;
    this.#options = options;
    this.#plan = { lanes, split: new Set(split) };
    this.#at = from;
    this.#until = until;
    this.#storedAt = options.clock();
  }

  async run(signal: AbortSignal): Promise<LaneEnd> {
    if (this.#until !== null && this.#at.nextOffset >= this.#until) return 'done';
    const ended = new AbortController();
    const turn = AbortSignal.any([signal, ended.signal]);
    const batches = this.#options.reader.manifests(this.#at.nextOffset, turn)[Symbol.asyncIterator]();
    try {
      for (let coming = batches.next(); !signal.aborted;) {
        const got = await nextOrRest(coming, this.#passed.length > 0 ? this.#options.restMs : null, signal);
        if (got === 'rest') {
          const end = await this.#store();
          if (end !== null) return end;
          continue;
        }
        if (got.done === true) break;
        const end = await this.#takeAll(got.value, signal);
        if (end !== null) return end;
        coming = batches.next();
      }
      return 'aborted';
    } finally {
      ended.abort();
    }
  }

  /** null: the stream goes on for this lane. */
  async #takeAll(manifests: readonly StoredManifest[], signal: AbortSignal): Promise<LaneEnd | null> {
    const end = manifests.findIndex((stored) => this.#isEnd(stored));
    const own = (end === -1 ? manifests : manifests.slice(0, end)).map((stored) => this.#ownOf(stored));
    const joined = new JoinedReader(own, (manifest) => this.#read(manifest, signal));
    for (let index = 0; index < own.length;) {
      const stored = own[index]!; // below the length
      const isStream = stored.manifest.kind === 'stream';
      const { part, count } = isStream ? await joined.take(index, true) : { part: null, count: 1 };
      if (signal.aborted) return 'aborted';
      const taken = own.slice(index, index + count);
      const outcome = part === null || isEmpty(part) ? this.#skip(taken) : await this.#apply(part, taken);
      if (outcome === 'over') return 'over';
      if (outcome === 'until') return this.#takeAll(manifests.slice(index), signal);
      if (taken.some(isAwaited) || this.#options.clock() - this.#storedAt >= this.#options.restMs) {
        const stop = await this.#store();
        if (stop !== null) return stop;
      }
      index += count;
    }
    if (end === -1) return null;
    return (await this.#store()) ?? 'done';
  }

  #isEnd({ offset, manifest }: StoredManifest): boolean {
    return isJoint(manifest) || (this.#until !== null && offset >= this.#until);
  }

  /** Without the ranges of other lanes. */
  #ownOf({ offset, manifest }: StoredManifest): StoredManifest {
    const { lane, schemasTopic } = this.#options;
    const isOurs = ({ topic, partition }: Manifest['ranges'][number]): boolean =>
      topic === schemasTopic || laneOf(this.#plan, topic, partition) === lane;
    return { offset, manifest: { ...manifest, ranges: manifest.ranges.filter(isOurs) } };
  }

  #read(manifest: Manifest, signal: AbortSignal): Promise<ReadPart> {
    const { reader, structures } = this.#options;
    return readPart(reader, structures, (topic) => this.#floorOf(topic), manifest, signal);
  }

  /** What committed before it is in the topic's snapshot, or was applied before the spread was opened. */
  #floorOf(topic: string): Lsn {
    return maxLsn(this.#at.through, this.#options.loads.get(topic)?.snapshot ?? LSN_ZERO);
  }

  #after(taken: readonly StoredManifest[]): LanePosition {
    return taken.reduce(
      (at, { offset, manifest: { through, epoch } }) => ({
        nextOffset: offset + 1n,
        through: maxLsn(at.through, parseLsn(through)),
        epoch,
      }),
      this.#at,
    );
  }

  #skip(taken: readonly StoredManifest[]): null {
    for (const stored of taken) {
      this.#at = this.#after([stored]);
      this.#passed.push(this.#at);
    }
    return null;
  }

  async #apply(part: ReadPart, taken: readonly StoredManifest[]): Promise<'over' | 'until' | null> {
    const { session, spread } = this.#options;
    const [unusable] = part.unusable;
    if (unusable !== undefined) throw unusable.error;
    const after = this.#after(taken);
    const begun = await session.lane.begin(spread);
    if (begun === 'over') return 'over';
    this.#until = begun.until;
    if (begun.until !== null && after.nextOffset > begun.until) {
      await session.transaction.rollback();
      return 'until';
    }
    await this.#applyPart(part);
    await this.#commit(after, countsOf(part.groups));
    return null;
  }

  async #applyPart({ groups }: ReadPart): Promise<void> {
    const { session, structures, lane } = this.#options;
    try {
      await applyPart(session.rows, groups, [], {
        match: (matched) => matchTables(structures, session.catalog, matched),
        forget: () => structures.forgetTables(),
        mismatch: 'target_drift',
        ranks: null,
      });
      await settleConstraints(session.transaction);
    } catch (error) {
      throw error instanceof RestageError && error.kind === 'person' ? refusedIn(lane, error) : error;
    }
  }

  /** What was passed without a change of this lane; null where the stream goes on for it. */
  async #store(): Promise<LaneEnd | null> {
    const { session, spread } = this.#options;
    if (this.#passed.length > 0) {
      const begun = await session.lane.begin(spread);
      if (begun === 'over') return 'over';
      this.#until = begun.until;
      // Lanes are asked to meet where the first of them is: what was only passed beyond that is passed again by whoever comes then.
      const { until } = begun;
      const passed = until === null ? this.#at : this.#passed.findLast(({ nextOffset }) => nextOffset <= until);
      if (passed === undefined) {
        await session.transaction.rollback();
        return 'done';
      }
      await this.#commit(passed, NOTHING);
    }
    return this.#until !== null && this.#at.nextOffset >= this.#until ? 'done' : null;
  }

  /** The open transaction, with the position that it takes the lane to. */
  async #commit(at: LanePosition, counts: LaneCounts): Promise<void> {
    const { session, failpoints } = this.#options;
    await session.lane.moveTo(at, counts);
    failpoints.hit('sink.lane.before');
    await session.transaction.commit();
    failpoints.hit('sink.lane.after');
    this.#at = at;
    this.#passed = [];
    this.#storedAt = this.#options.clock();
  }
}

function isEmpty({ groups, unusable }: ReadPart): boolean {
  return groups.length === 0 && unusable.length === 0;
}

/** Somebody wants to know that it was passed. */
function isAwaited({ manifest }: StoredManifest): boolean {
  return manifest.control.some(({ kind }) => kind === 'barrier');
}

function countsOf(groups: readonly StructureChanges[]): LaneCounts {
  const counts = { ...NOTHING };
  for (const { changes } of groups) for (const { kind } of changes) counts[kind] += 1;
  return counts;
}

function refusedIn(lane: number, error: RestageError): RestageError {
  return new RestageError(error.code, `${error.message} (ordering: key, lane ${lane})`, {
    ...(error.where === undefined ? {} : { where: error.where }),
    cause: error,
    fix: `${error.fix === undefined ? '' : `${error.fix}; `}where it needs the order of other rows, set ordering: transaction for this target and start its sinks again`,
  });
}
