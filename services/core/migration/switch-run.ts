import { startDeadline } from '#core/deadline.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { Failpoints } from '#core/failpoints.ts';
import { otherSide, type Evidence, type JournalEntry, type JournalRecord, type Side } from './journal.ts';
import { foldJournal, stepsToUndo, type MigrationState, type OpenSwitch } from './state.ts';
import { STEPS_AFTER, STEPS_BEFORE, type StepName } from './steps.ts';

/** The journal, in the hands of one operator. */
export interface OperatorJournal {
  read(): Promise<readonly JournalRecord[]>;
  /** Durable when it resolves. Whether it is there after another error is not known. @throws RestageError operator_lost where a later operator took over. */
  append(entry: JournalEntry): Promise<JournalRecord>;
}

/** What the steps do outside the journal. Each may be called again after a crash in its middle. */
export interface SwitchHands {
  /** @throws what stops the switch. Aborted by the end of the time-box, Ctrl-C or the loss of the operator's lock. */
  run(step: StepName, open: OpenSwitch, signal: AbortSignal): Promise<Evidence>;
  /** Needs no journal: whether it may is asked of the side itself. @throws RestageError operator_lost. */
  undo(step: StepName, open: OpenSwitch): Promise<Evidence>;
}

export interface SwitchOptions {
  readonly to: Side;
  readonly timeBoxMs: number;
  readonly wayBack: boolean;
  readonly journal: OperatorJournal;
  readonly hands: SwitchHands;
  /** Asked before a new attempt begins, never when one is gone on with. @throws what speaks against it. */
  readonly guards: (state: MigrationState) => Promise<void>;
  readonly say: (line: string) => void;
  readonly failpoints: Failpoints;
  /** Milliseconds. */
  readonly clock: () => number;
  /** Ctrl-C, and the loss of the operator's lock. Not heard after the point of no return. */
  readonly signal: AbortSignal;
}

export interface SwitchResult {
  readonly live: Side;
  /** It was there before. */
  readonly isNews: boolean;
  readonly unavailableMs: number;
}

const NEVER = new AbortController().signal;

/**
 * Makes a side the live one, wherever an earlier operator left it: a switch past its point of no return is ended, one before it is undone
 * and begun anew. @throws what stopped it, after everything was undone: the side that was live before still is.
 */
export async function runSwitch(options: SwitchOptions): Promise<SwitchResult> {
  const run = new SwitchRun(options);
  const state = foldJournal(await options.journal.read());
  requireReachable(state, options.to);
  if (state.open?.isCommitted === true) return run.forward(state.open);
  if (state.open !== null) {
    options.say(`an earlier operator left a switch to the ${state.open.to} before its point of no return: undoing it`);
    await run.undo(state.open, 'its operator ended before the point of no return');
  }
  if (state.live === options.to) return { live: state.live, isNews: false, unavailableMs: state.unavailableMs ?? 0 };
  await options.guards(state);
  return run.attempt();
}

/** @throws RestageError switch_refused. */
function requireReachable(state: MigrationState, to: Side): void {
  if (state.isCompleted)
    throw new RestageError(
      'switch_refused',
      `the migration is over: the ${state.live} is live, and nothing follows it`,
      {
        fix: 'a new migration the other way is a pipeline of its own',
      },
    );
  if (state.open?.isCommitted === true && state.open.to !== to)
    throw new RestageError(
      'switch_refused',
      `a switch to the ${state.open.to} is past its point of no return and has not ended`,
      {
        where: `the ${state.open.to} is the live side, whether or not it is open for writes by now`,
        fix: state.open.to === 'target' ? 'restage cutover ends it' : 'restage rollback ends it',
      },
    );
  if (to === 'source' && state.live === 'target' && !state.wayBack)
    throw new RestageError('switch_refused', 'the switch was made without a way back', {
      fix: 'the source has nothing that was written since; the target is live',
    });
}

class SwitchRun {
  readonly #options: SwitchOptions;
  #fencedAt: number | null = null;

  constructor(options: SwitchOptions) {
    this.#options = options;
  }

  async attempt(): Promise<SwitchResult> {
    const { to, timeBoxMs, wayBack, journal, say } = this.#options;
    await journal.append({ kind: 'begun', to, timeBoxMs, wayBack });
    say(`switching to the ${to}; time-box ${timeBoxMs} ms`);
    let hasAskedForCommit = false;
    try {
      await this.#before();
      hasAskedForCommit = true;
      this.#hit('commit', 'before');
      await journal.append({ kind: 'committed', to });
    } catch (error) {
      const open = await this.#openAfter(error, hasAskedForCommit);
      if (open.isCommitted) return this.forward(open);
      // An undo that fails too has words of its own, in which these would be lost.
      say(`the switch failed, and is undone: ${describeError(error).split('\n')[0] ?? ''}`);
      await this.undo(open, describeError(error));
      throw withLive(error, otherSide(to));
    }
    this.#hit('commit', 'after');
    say(`the ${to} is the live side from here on: only forward`);
    return this.forward(await this.#open());
  }

  async #before(): Promise<void> {
    const { signal, timeBoxMs } = this.#options;
    const box = new AbortController();
    let deadline: { readonly signal: AbortSignal; readonly cancel: () => void } | null = null;
    try {
      for (const { name } of STEPS_BEFORE) {
        if (name === 'fence') deadline = startDeadline(timeBoxMs, signal);
        const within = AbortSignal.any([signal, box.signal, ...(deadline === null ? [] : [deadline.signal])]);
        await this.#step(name, within);
        if (signal.aborted) throw new RestageError('switch_stopped', 'the switch was stopped');
        if (within.aborted)
          throw new RestageError('switch_late', `the switch did not end within its time-box of ${timeBoxMs} ms`, {
            where: `step ${name}`,
            fix: 'see what took so long in the journal; give it more by --time-box',
          });
      }
    } catch (error) {
      if (signal.aborted)
        throw new RestageError('switch_stopped', 'the switch was stopped before its point of no return', {
          cause: error,
        });
      if (deadline?.signal.aborted === true && !(error instanceof RestageError))
        throw new RestageError('switch_late', `a step did not end within the time-box: ${describeError(error)}`, {
          fix: 'see that both servers answer; or give the switch more time: --time-box',
          cause: error,
        });
      throw error;
    } finally {
      deadline?.cancel();
    }
  }

  async #step(name: StepName, signal: AbortSignal): Promise<void> {
    const { journal, hands, clock, say } = this.#options;
    await journal.append({ kind: 'started', step: name });
    const startedAt = clock();
    if (name === 'fence') this.#fencedAt = startedAt;
    this.#hit(name, 'before');
    const evidence = await hands.run(name, await this.#open(), signal);
    this.#hit(name, 'after');
    const ms = clock() - startedAt;
    await journal.append({ kind: 'done', step: name, ms, evidence });
    say(`${name}: ${ms} ms${describeEvidence(evidence)}`);
  }

  /** From the point of no return on: only forward, however often it is called. */
  async forward(open: OpenSwitch): Promise<SwitchResult> {
    const { journal, say, clock } = this.#options;
    const { to } = open;
    let opened: number | null = null;
    try {
      for (const { name } of STEPS_AFTER) {
        if (!open.done.includes(name)) await this.#step(name, NEVER);
        if (name === 'open') opened = clock();
      }
    } catch (error) {
      const isOpened = opened !== null;
      throw new RestageError(
        'switch_unfinished',
        `the switch to the ${to} is past its point of no return, and a step of it failed: ${describeError(error)}`,
        {
          where: isOpened
            ? `the ${to} is live and open for writes`
            : `the ${to} is the live side; it is not open for writes yet, nor is the ${otherSide(to)}`,
          fix: `run the same command again: it goes on from here`,
          cause: error,
        },
      );
    }
    const unavailableMs = await this.#unavailable(opened ?? clock());
    await journal.append({ kind: 'finished', live: to, unavailableMs });
    say(`done: the ${to} is live; writes were refused for ${unavailableMs} ms`);
    return { live: to, isNews: true, unavailableMs };
  }

  /** Across operators the journal's clocks tell it. */
  async #unavailable(openedAt: number): Promise<number> {
    if (this.#fencedAt !== null) return openedAt - this.#fencedAt;
    const records = await this.#options.journal.read();
    const timeOf = (kind: 'started' | 'done', name: StepName): number | null => {
      const found = records.findLast(({ entry }) => entry.kind === kind && entry.step === name);
      return found === undefined ? null : Date.parse(found.at);
    };
    const [from, until] = [timeOf('started', 'fence'), timeOf('done', 'open')];
    return from === null || until === null ? 0 : Math.max(0, until - from);
  }

  /** Takes back what may have been done, the newest first, and goes on past what the journal cannot take: a side's own state decides. */
  async undo(open: OpenSwitch, why: string): Promise<void> {
    const { hands, journal, clock, say } = this.#options;
    const live = otherSide(open.to);
    for (const step of stepsToUndo(open)) {
      const startedAt = clock();
      this.#hit('undo', 'before');
      const evidence = await this.#undoStep(hands, step, open);
      this.#hit('undo', 'after');
      const ms = clock() - startedAt;
      await journal.append({ kind: 'undone', step, ms, evidence }).catch(passUnlessLost);
      say(`undone ${step}: ${ms} ms`);
    }
    await journal.append({ kind: 'aborted', live, why }).catch(passUnlessLost);
    say(`everything is undone: the ${live} is live, as before`);
  }

  async #undoStep(hands: SwitchHands, step: StepName, open: OpenSwitch): Promise<Evidence> {
    try {
      return await hands.undo(step, open);
    } catch (error) {
      const live = otherSide(open.to);
      throw new RestageError('switch_not_undone', `step ${step} could not be undone: ${describeError(error)}`, {
        where: `the ${live} is the live side, the ${open.to} is closed; a fence that was not sealed ends by itself ${open.timeBoxMs} ms after it began`,
        fix: 'run the same command again: it undoes first what is left',
        cause: error,
      });
    }
  }

  async #open(): Promise<OpenSwitch> {
    const { open } = foldJournal(await this.#options.journal.read());
    if (open === null) throw new RestageError('operator_lost', 'another operator ended this switch');
    return open;
  }

  /**
   * What the journal has after a failure. Without it, what this operator began itself is undone; not once it asked for the commit: nobody
   * knows then whether it is there.
   */
  async #openAfter(error: unknown, hasAskedForCommit: boolean): Promise<OpenSwitch> {
    if (error instanceof RestageError && error.code === 'operator_lost') throw error;
    try {
      return await this.#open();
    } catch (cause) {
      const { to, timeBoxMs, wayBack } = this.#options;
      if (hasAskedForCommit || (cause instanceof RestageError && cause.code === 'operator_lost'))
        throw new RestageError(
          'switch_unfinished',
          `the journal cannot be read after the switch failed: ${describeError(error)}`,
          {
            where: `neither side is open for writes; the journal knows whether the ${to} is live`,
            fix: 'run the same command again as soon as the target is reachable: it goes on, or undoes',
            cause,
          },
        );
      const started = STEPS_BEFORE.map(({ name }) => name);
      return { to, timeBoxMs, wayBack, startedAt: '', isCommitted: false, started, done: [], mark: null };
    }
  }

  #hit(name: StepName | 'commit' | 'undo', moment: 'before' | 'after'): void {
    this.#options.failpoints.hit(`switch.${name}.${moment}`);
  }
}

function describeEvidence(evidence: Evidence): string {
  const parts = Object.entries(evidence).map(([key, value]) => `${key} ${String(value)}`);
  return parts.length === 0 ? '' : `; ${parts.join(', ')}`;
}

function passUnlessLost(error: unknown): void {
  if (error instanceof RestageError && error.code === 'operator_lost') throw error;
}

/** The same error, which also says which side is live. */
function withLive(error: unknown, live: Side): RestageError {
  const isOurs = error instanceof RestageError;
  const where = isOurs && error.where !== undefined ? `${error.where}; ` : '';
  return new RestageError(isOurs ? error.code : 'switch_failed', isOurs ? error.message : describeError(error), {
    where: `${where}everything is undone: the ${live} is live, as before`,
    ...(isOurs && error.fix !== undefined ? { fix: error.fix } : {}),
    cause: error,
  });
}
