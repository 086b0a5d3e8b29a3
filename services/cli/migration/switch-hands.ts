import { closeSide, openSide, sealSide, type GuardPlace } from '#adapters/postgres/migration/guard.ts';
import { requireTerm, setGate, underTerm } from '#adapters/postgres/migration/side-state.ts';
import { openSchemaBuild } from '#adapters/postgres/target/open-target-schema.ts';
import { finishSchema } from '#adapters/postgres/target/schema-finish.ts';
import { TargetState } from '#adapters/postgres/target/target-state.ts';
import { randomUUID } from 'node:crypto';
import { RestageError } from '#core/errors.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn } from '#core/lsn.ts';
import type { HookEvent } from '#core/migration/hook.ts';
import type { Evidence, Side } from '#core/migration/journal.ts';
import type { OpenSwitch, Verification } from '#core/migration/state.ts';
import type { StepName } from '#core/migration/steps.ts';
import type { SwitchHands } from '#core/migration/switch-run.ts';
import { setSequences } from '../sequence-plan.ts';
import { markCurrentLsn } from '../source-figures.ts';
import { waitForLsn } from '../wait.ts';
import type { ChangedKeys } from './changed-keys.ts';
import { endsOf, type Ends, type Migration } from './ends.ts';
import { verifyInFence } from './fence-verify.ts';
import { callHook } from './hook-call.ts';
import type { Operator } from './operator.ts';
import { requireStreamLife } from './stream-life.ts';
import { SwitchCare } from './switch-care.ts';

export interface HandsOptions {
  readonly migration: Migration;
  readonly operator: Operator;
  /** The newest comparison of all rows before the switch: how long one takes. */
  readonly verified: () => Verification | null;
  /** Rows that changed since it, as far as they were collected before the switch; null where nobody knows since when. */
  readonly changed: () => ChangedKeys | null;
  /** Sessions that keep the fence from closing are ended. */
  readonly terminates: boolean;
  readonly logger: Logger;
}

/** What is nearly done when its time is over may end; longer than an attempt at the fence's locks, which then says who holds one. */
const GRACE_MS = 5_000;
/** Steps of a sequence that the other side is ahead: what sessions have cached, or take meanwhile. */
const SEQUENCE_MARGIN = 1_000n;

/** The steps of a switch between two databases. */
export function makeHands(options: HandsOptions): SwitchHands {
  const hands = new Hands(options);
  return { run: (step, open, signal) => hands.run(step, open, signal), undo: (step, open) => hands.undo(step, open) };
}

class Hands {
  readonly #options: HandsOptions;
  readonly #care: SwitchCare;

  constructor(options: HandsOptions) {
    this.#options = options;
    this.#care = new SwitchCare(options.migration, options.operator.term);
  }

  /** A server that falls silent keeps no step beyond its time: its sessions are cut, and what they were doing has failed. */
  async run(step: StepName, open: OpenSwitch, signal: AbortSignal): Promise<Evidence> {
    const cut = (): void => this.#options.operator.cutAfter(GRACE_MS, ended.signal);
    const ended = new AbortController();
    signal.addEventListener('abort', cut);
    if (signal.aborted) cut();
    try {
      return await this.#run(step, open, signal);
    } finally {
      signal.removeEventListener('abort', cut);
      ended.abort();
    }
  }

  #run(step: StepName, open: OpenSwitch, signal: AbortSignal): Promise<Evidence> {
    const ends = endsOf(this.#options.migration, open.to);
    switch (step) {
      case 'objects':
        return this.#care.objects(ends, false, signal);
      case 'refresh':
        return this.#care.refresh(ends, signal);
      case 'analyze':
        return this.#care.analyze(ends, signal);
      case 'hold':
        return this.#hold(signal);
      case 'fence':
        return this.#fence(ends, open, signal);
      case 'drain':
        return this.#drain(ends, signal);
      case 'lastObjects':
        return this.#care.objects(ends, true, signal);
      case 'verify':
        return this.#verify(ends, open, signal);
      case 'sequences':
        return this.#sequences(ends);
      case 'freeze':
        return this.#gate(
          ends.to,
          ends.feeding.config.name,
          `switched: the ${ends.to} is live, and its application writes to it`,
          signal,
        );
      case 'mark':
        return open.wayBack ? this.#mark(ends, signal) : Promise.resolve({ wayBack: false });
      case 'seal':
        return this.#seal(ends);
      case 'finish':
        return this.#finish(ends);
      case 'open':
        return this.#open(ends.to);
      case 'flip':
        return this.#hook('flip', ends.to);
      case 'follow':
        return open.wayBack
          ? this.#gate(ends.from, ends.returning.config.name, null, signal)
          : Promise.resolve({ wayBack: false });
    }
  }

  undo(step: StepName, open: OpenSwitch): Promise<Evidence> {
    const ends = endsOf(this.#options.migration, open.to);
    if (step === 'hold') return this.#hook('resume', ends.from);
    if (step === 'fence') return this.#open(ends.from);
    if (step === 'freeze') return this.#gate(ends.to, ends.feeding.config.name, null);
    return Promise.resolve({});
  }

  /** What changed while the other side was made ready is read now, while writers need not wait. */
  async #hold(signal: AbortSignal): Promise<Evidence> {
    await this.#options.changed()?.collect(signal);
    return this.#hook('hold', null);
  }

  async #hook(event: HookEvent, live: Side | null): Promise<Evidence> {
    const { config, target } = this.#options.migration.there;
    if (config.hook == null) return { hook: 'none' };
    await callHook(config.hook, { event, pipeline: config.name, target: target.name, live });
    return { hook: event };
  }

  async #place(side: Side): Promise<GuardPlace> {
    const { migration, operator } = this.#options;
    const client = await operator.session(side);
    return { client, pipeline: migration.keys[side], tables: migration.tables[side] };
  }

  async #fence({ from }: Ends, { timeBoxMs }: OpenSwitch, signal: AbortSignal): Promise<Evidence> {
    const { operator, terminates } = this.#options;
    const place = await this.#place(from);
    const until = await closeSide({ ...place, terminates }, operator.term, timeBoxMs, signal);
    return { side: from, until, tables: place.tables.length };
  }

  #verify({ feeding }: Ends, open: OpenSwitch, signal: AbortSignal): Promise<Evidence> {
    const { verified, changed, logger } = this.#options;
    return verifyInFence(feeding, verified(), open, changed(), { logger, signal });
  }

  async #drain({ feeding, to }: Ends, signal: AbortSignal): Promise<Evidence> {
    const lsn = await markCurrentLsn(feeding.config, signal);
    const { isReached, checkpoint } = await waitForLsn(feeding.config, feeding.target, lsn, signal);
    if (!isReached)
      throw new RestageError('switch_late', `the ${to} did not have everything when the time-box ended`, {
        where: `it is at ${checkpoint?.through ?? 'no position'}, wanted ${formatLsn(lsn)}`,
        fix: 'restage status says what holds it up; give the switch more time: --time-box',
      });
    return { barrier: formatLsn(lsn) };
  }

  async #sequences({ from, to }: Ends): Promise<Evidence> {
    const { operator } = this.#options;
    const [theirs, ours] = [await operator.session(from), await operator.session(to)];
    const steps = await setSequences(theirs, ours, { margin: SEQUENCE_MARGIN, isDryRun: false });
    return { set: steps.filter(({ change }) => change === 'set').length, margin: Number(SEQUENCE_MARGIN) };
  }

  /** `reason`: why the sink may apply nothing; null: it may. */
  async #gate(side: Side, sinkPipeline: string, reason: string | null, signal?: AbortSignal): Promise<Evidence> {
    const { migration, operator } = this.#options;
    await operator.persist(
      side,
      (client) =>
        underTerm(client, migration.keys[side], operator.term, () =>
          setGate(client, sinkPipeline, { isClosed: reason !== null, reason: reason ?? '' }),
        ),
      signal,
    );
    return { side, applies: reason === null };
  }

  /** Everything that committed at Y before its LSN came by P, or is nobody's: Q leaves it out. */
  async #mark({ from, returning }: Ends, signal: AbortSignal): Promise<Evidence> {
    const { migration, operator, logger } = this.#options;
    const through = await markCurrentLsn(returning.config, signal);
    const life = await requireStreamLife(returning, logger);
    const state = new TargetState(returning.config.name, randomUUID());
    const client = await operator.session(from);
    await state.prepare(client);
    await underTerm(client, migration.keys[from], operator.term, () => state.adopt(client, { ...life, through }));
    return { from: formatLsn(through), pipeline: returning.config.name };
  }

  async #seal({ from }: Ends): Promise<Evidence> {
    await sealSide(await this.#place(from), this.#options.operator.term);
    return { side: from };
  }

  async #finish({ to, feeding }: Ends): Promise<Evidence> {
    const { operator, migration } = this.#options;
    const key = migration.keys[to];
    const client = await operator.session(to);
    await underTerm(client, key, operator.term, () => requireTerm(client, key, operator.term));
    const build = openSchemaBuild({ pipeline: feeding.config.name, target: feeding.target, failpoints: NO_FAILPOINTS });
    const { steps } = await finishSchema(client, feeding.config.name, build, false);
    return { statements: steps.length };
  }

  async #open(side: Side): Promise<Evidence> {
    const { migration, operator } = this.#options;
    await operator.persist(side, (client) => openSide({ client, pipeline: migration.keys[side] }, operator.term));
    return { side };
  }
}
