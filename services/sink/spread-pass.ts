import { randomUUID } from 'node:crypto';
import type { LaneProgress, LanePosition, Spread } from '#adapters/postgres/target/spread-state.ts';
import { pause } from '#core/backoff.ts';
import type { HoldGate } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { LagMeter } from '#core/lag-meter.ts';
import { isJoint } from '#core/lanes.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn } from '#core/lsn.ts';
import type { StoredManifest } from '#core/manifest.ts';
import { noteAge, type ServiceStatus } from '#core/status.ts';
import type { TableStructure } from '#core/structure.ts';
import { whileGuarded } from '#core/while-guarded.ts';
import { ManifestWatch } from './manifest-watch.ts';
import type { TargetSession } from './target.ts';

export interface SpreadPassOptions {
  readonly reader: EpochReader;
  readonly session: TargetSession;
  readonly status: ServiceStatus;
  readonly lag: LagMeter;
  readonly hold: HoldGate;
  readonly isPaused: () => boolean;
  readonly readTables: () => Promise<readonly TableStructure[]>;
  /** Into how many lanes a new one is spread; null: this sink keeps whole transactions, and only ends what is open. */
  readonly lanes: number | null;
  readonly clock: () => number;
  readonly failpoints: Failpoints;
  readonly logger: Logger;
  /** How often the lanes are looked at. Milliseconds. */
  readonly pollMs: number;
}

/** The checkpoint follows the last lane this often: each time keeps all lanes out for a moment. */
const NOTE_MS = 1_000;
/** A lane that stands still this long, while others are ahead of it, is told of. */
const STANDS_MS = 10_000;
const NONE: LaneProgress['counts'] = { insert: 0, update: 0, delete: 0 };
/** Not worth a spread: so few manifests before one that is joint. */
const FEW = 4;

/**
 * The main loop while lanes apply (ordering: key): it applies nothing, moves the checkpoint to what every lane has passed, and asks the lanes
 * to meet where somebody wants one position. What is open is in the target alone, so any life of it goes on from there.
 */
export class SpreadPass {
  readonly #options: SpreadPassOptions;
  #open: Spread | null;
  /** What is in the figures of each lane's changes; null: nothing was looked at, and an earlier life told of it. */
  #counted: Map<number, LaneProgress['counts']> | null = null;
  /** Where the last lane was seen, and since when; milliseconds since 1970. */
  #least = 0n;
  #movedAt = 0;
  /** Where the checkpoint is, and since when. */
  #noted = 0n;
  #notedAt = 0;

  /** `open`: what an earlier life left, adopted by this one. */
  constructor(options: SpreadPassOptions, open: Spread | null) {
    this.#options = options;
    this.#open = open;
  }

  get open(): Spread | null {
    return this.#open;
  }

  /** Whether lanes may go on from the first of these manifests, for all that it and what is asked of this sink say. */
  async mayOpen([first, ...others]: readonly StoredManifest[]): Promise<boolean> {
    const { lanes, session } = this.#options;
    if (lanes === null || first?.manifest.kind !== 'stream' || this.#isAsked()) return false;
    if ([first, ...others.slice(0, FEW)].some(({ manifest }) => isJoint(manifest))) return false;
    // What waits behind a dead letter of another time waits in the order of all rows.
    return !(await session.letters.isAnyHeld());
  }

  /** Until the lanes have met: where they stand, and none applies from there on. null when aborted before. */
  async run(from: LanePosition, signal: AbortSignal): Promise<LanePosition | null> {
    const { reader, lag, status, logger, clock } = this.#options;
    const spread = this.#open ?? (await this.#openAt(from));
    status.state = 'streaming';
    status.detail = '';
    this.#notedAt = this.#movedAt = clock();
    this.#noted = this.#least = from.nextOffset;
    const watch = new ManifestWatch(reader, lag, from.nextOffset);
    const met: (LanePosition | null)[] = [];
    await whileGuarded(
      signal,
      (until) => watch.follow(until),
      async (until) => void met.push(await this.#lead(spread, watch, until)),
    );
    logger.debug({ spread: spread.id }, 'the lanes are led no more');
    return met[0] ?? null;
  }

  async #openAt(from: LanePosition): Promise<Spread> {
    const { session, readTables, lanes, failpoints, logger } = this.#options;
    const split = await session.catalog.split(await readTables());
    const spread: Spread = { id: randomUUID(), lanes: lanes ?? 1, split, until: null };
    await session.transaction.begin('UPDATE');
    await session.position.moveTo({ ...from, commit: null });
    await session.spread.open(spread, from);
    failpoints.hit('sink.spreadOpen.before');
    await session.transaction.commit();
    failpoints.hit('sink.spreadOpen.after');
    logger.debug({ spread: spread.id, lanes, split: split.length }, 'lanes apply side by side');
    this.#open = spread;
    this.#counted = new Map();
    return spread;
  }

  async #lead(spread: Spread, watch: ManifestWatch, signal: AbortSignal): Promise<LanePosition | null> {
    const { session, hold, pollMs } = this.#options;
    let { until } = spread;
    while (!signal.aborted) {
      const progress = await session.spread.progress();
      this.#count(progress);
      const least = leastOf(progress);
      const haveMet = progress.every(({ nextOffset }) => nextOffset === least.nextOffset);
      if (haveMet && (least.nextOffset === until || least.nextOffset === watch.end)) return this.#close();
      if (until === null && (this.#isAsked() || this.#options.lanes !== spread.lanes)) {
        until = await this.#meet();
        continue;
      }
      const hasMoved = least.nextOffset > this.#least;
      this.#follow(least, progress, watch);
      await this.#note(least, haveMet);
      await pause(hasMoved || until !== null ? pollMs : pollMs * 3, AbortSignal.any([signal, hold.changed]));
    }
    return null;
  }

  /** Somebody wants the sink to stand at one place. */
  #isAsked(): boolean {
    return this.#options.isPaused() || this.#options.hold.request !== null;
  }

  /** Where the first lane is: none goes further, and the others come there. */
  async #meet(): Promise<bigint> {
    const { session, failpoints } = this.#options;
    await session.transaction.begin('UPDATE');
    const progress = await session.spread.progress();
    const until = progress.reduce((most, { nextOffset }) => (nextOffset > most ? nextOffset : most), 0n);
    await session.spread.converge(until);
    failpoints.hit('sink.spreadMeet.before');
    await session.transaction.commit();
    failpoints.hit('sink.spreadMeet.after');
    return until;
  }

  /** The position is one again (invariant 2): no lane moves where they have met. */
  async #close(): Promise<LanePosition> {
    const { session, failpoints, status } = this.#options;
    await session.transaction.begin('UPDATE');
    const progress = await session.spread.progress();
    this.#count(progress);
    const { nextOffset, through, epoch } = leastOf(progress);
    await session.position.moveTo({ nextOffset, through, epoch, commit: null });
    await session.spread.close();
    failpoints.hit('sink.spreadClose.before');
    await session.transaction.commit();
    failpoints.hit('sink.spreadClose.after');
    this.#open = null;
    status.through = formatLsn(through);
    return { nextOffset, through, epoch };
  }

  /** Figures, from what every lane has passed. */
  #follow(least: LaneProgress, progress: readonly LaneProgress[], watch: ManifestWatch): void {
    const { status, clock } = this.#options;
    const now = clock();
    if (least.nextOffset > this.#least) this.#movedAt = now;
    this.#least = least.nextOffset;
    status.through = formatLsn(least.through);
    status.epoch = least.epoch;
    const last = watch.passed(least.nextOffset);
    if (last !== null) noteAge(status, last.manifest, now);
    const behind = progress.filter(({ nextOffset }) => nextOffset === least.nextOffset).map(({ lane }) => lane);
    const isStuck = behind.length < progress.length && now - this.#movedAt >= STANDS_MS;
    status.detail = isStuck ? `waits for lane ${behind.join(', ')}: does a sink process serve it?` : '';
  }

  /** A lower bound of what is applied, for whoever waits for it. */
  async #note(least: LaneProgress, haveMet: boolean): Promise<void> {
    const { session, clock } = this.#options;
    const since = clock() - this.#notedAt;
    if (least.nextOffset === this.#noted || since < (haveMet ? this.#options.pollMs : NOTE_MS)) return;
    const { nextOffset, through, epoch } = least;
    await session.transaction.begin('UPDATE');
    await session.position.moveTo({ nextOffset, through, epoch, commit: null });
    await session.transaction.commit();
    this.#noted = nextOffset;
    this.#notedAt = clock();
  }

  #count(progress: readonly LaneProgress[]): void {
    const { events } = this.#options.status;
    for (const { lane, counts } of progress) {
      const known = this.#counted === null ? counts : (this.#counted.get(lane) ?? NONE);
      for (const kind of ['insert', 'update', 'delete'] as const) events[kind] += counts[kind] - known[kind];
    }
    this.#counted = new Map(progress.map(({ lane, counts }) => [lane, counts]));
  }
}

function leastOf(progress: readonly LaneProgress[]): LaneProgress {
  return progress.reduce((least, one) => (one.nextOffset < least.nextOffset ? one : least));
}
