import { neutralise } from '#adapters/postgres/clone/neutralise.ts';
import { runShell } from '#adapters/postgres/clone/run-shell.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { pause } from '#core/backoff.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import type { RehearsalReport, RehearsalStep } from '#core/rehearsal/rehearsal-report.ts';
import { formatTable } from '#core/table-name.ts';
import type { CliEnvironment } from '../environment.ts';
import { makeReplayProgress } from '../replay/replay-progress.ts';
import { storeStructures } from '../schema-command.ts';
import { setSequences } from '../sequence-plan.ts';
import { markCurrentLsn } from '../source-figures.ts';
import { takeExactSnapshots } from '../verify/exact-snapshots.ts';
import { makeProgress } from '../verify/verify-progress.ts';
import { verifyTables } from '../verify/verify-tables.ts';
import { waitForLsn } from '../wait.ts';
import type { ClonePlace } from './clone-place.ts';
import { RehearsedSwitch } from './rehearsed-switch.ts';
import { CloneSink } from './clone-sink.ts';

export interface RehearsalParts {
  readonly config: Config;
  readonly target: TargetConfig;
  readonly place: ClonePlace;
  readonly isKept: boolean;
  readonly cli: CliEnvironment;
  readonly logger: Logger;
}

/** What a step did, for people, and whether that is as it must be. */
type StepResult = Pick<RehearsalStep, 'ok' | 'says'>;

const LOOK_MS = 200;
const SEQUENCE_MARGIN = 1_000n;

export type Rehearsed = Pick<RehearsalReport, 'steps' | 'switches' | 'leftOut'>;

/** The steps, each timed; the first that fails is the last. The clone is removed at the end, unless it is kept. */
export async function rehearse(parts: RehearsalParts): Promise<Rehearsed> {
  const run = new RehearsalRun(parts);
  try {
    return await run.all();
  } finally {
    await run.close();
  }
}

class RehearsalRun {
  readonly #parts: RehearsalParts;
  readonly #steps: RehearsalStep[] = [];
  #url = '';
  #sink: CloneSink | null = null;
  readonly #trial: RehearsedSwitch;
  #proof = { seconds: 0, rows: 0 };

  constructor(parts: RehearsalParts) {
    this.#parts = parts;
    this.#trial = new RehearsedSwitch(parts);
  }

  async all(): Promise<Rehearsed> {
    const hasSmoke = this.#parts.place.rehearsal.smoke !== null;
    const trial = this.#trial;
    let isDone =
      (await this.#step('clone', () => this.#clone())) &&
      (await this.#step('neutralise', () => this.#neutralise())) &&
      (await this.#step('replay', () => this.#replay())) &&
      (await this.#step('switch', () => this.#switch())) &&
      (await this.#step('verify', () => this.#verify()));
    await this.#stopSink();
    const isThereAndBack = isDone && (await trial.isPossible());
    if (isThereAndBack) isDone = await this.#step('cutover', () => trial.cutover(this.#url, this.#proof));
    if (isDone && hasSmoke) isDone = await this.#step('smoke', () => this.#smoke());
    if (isDone && isThereAndBack) await this.#step('rollback', () => trial.rollback());
    return { steps: this.#steps, switches: trial.switches, leftOut: trial.leftOut };
  }

  async close(): Promise<void> {
    await this.#stopSink();
    await this.#trial.close();
    const { place, isKept } = this.#parts;
    if (!isKept) await place.driver.drop(place.name);
  }

  async #step(name: RehearsalStep['name'], work: () => Promise<StepResult>): Promise<boolean> {
    const { cli } = this.#parts;
    const startedAt = performance.now();
    const result = await work().catch((error: unknown): StepResult => {
      if (!(error instanceof RestageError)) throw error;
      return { ok: false, says: describeError(error) };
    });
    const seconds = (performance.now() - startedAt) / 1000;
    this.#steps.push({ name, seconds, ...result });
    cli.err(`${name}: ${result.ok ? 'done' : 'FAILED'} after ${seconds.toFixed(1)} s, ${result.says}\n`);
    return result.ok && !cli.signal.aborted;
  }

  /** What an earlier rehearsal left goes first. */
  async #clone(): Promise<StepResult> {
    const { driver, name, rehearsal } = this.#parts.place;
    await driver.drop(name);
    this.#url = await driver.create(name);
    return { ok: true, says: `${rehearsal.baseline ?? 'an empty database'} by ${driver.kind}` };
  }

  async #neutralise(): Promise<StepResult> {
    const { config } = this.#parts;
    const client = await connectPg({
      url: this.#url,
      purpose: 'target',
      application: `restage ${config.name} rehearse`,
    });
    try {
      const off = await neutralise(client);
      return { ok: true, says: off.length === 0 ? 'nothing to switch off' : `off: ${off.join(', ')}` };
    } finally {
      await client.end();
    }
  }

  async #replay(): Promise<StepResult> {
    const { config, target, cli, logger } = this.#parts;
    const sink = new CloneSink(config, target, this.#url, logger);
    this.#sink = sink;
    await storeStructures(sink.config);
    const goal = await markCurrentLsn(config);
    sink.start(cli);
    await this.#untilPast(sink, goal, true);
    const { events } = sink.status;
    const rows = events.snapshot;
    const changes = events.insert + events.update + events.delete + events.truncate;
    return { ok: true, says: `${rows} rows and ${changes} changes, up to ${sink.status.through}` };
  }

  /** As a switch does it but for the fence, which is the live source's: what the last write takes to be there, and sequences. */
  async #switch(): Promise<StepResult> {
    const { config } = this.#parts;
    const sink = this.#ownSink();
    const startedAt = performance.now();
    await this.#untilPast(sink, await markCurrentLsn(config), false);
    const drained = performance.now() - startedAt;
    const from = await connectPg({
      url: config.source.url,
      purpose: 'source',
      application: `restage ${config.name} rehearse`,
    });
    const to = await connectPg({ url: this.#url, purpose: 'target', application: `restage ${config.name} rehearse` });
    try {
      const set = await setSequences(from, to, { margin: SEQUENCE_MARGIN, isDryRun: false });
      const rest = performance.now() - startedAt - drained;
      return {
        ok: true,
        says: `drained in ${drained.toFixed(0)} ms, ${set.length} sequences in ${rest.toFixed(0)} ms`,
      };
    } finally {
      await Promise.all([from.end(), to.end()]);
    }
  }

  async #verify(): Promise<StepResult> {
    const { logger, cli } = this.#parts;
    const { config, target, ended } = this.#ownSink();
    const tools = { logger, signal: AbortSignal.any([cli.signal, ended]), clock: Date.now };
    const report = await verifyTables(config, target, {
      ...tools,
      progress: makeProgress(process.stderr, Date.now),
      takeExact: () => takeExactSnapshots(config, target, tools),
    });
    const rows = report.tables.reduce((sum, table) => sum + table.rows, 0);
    this.#proof = { seconds: report.seconds, rows };
    const named = report.tables
      .filter(({ different }) => different.length > 0)
      .map(({ targetTable, different }) => `${formatTable(targetTable)}: ${different.length} rows differ`);
    const why = [report.verdict, ...(report.reason === undefined ? [] : [report.reason]), ...named].join('; ');
    return { ok: report.verdict === 'equal', says: `${report.tables.length} tables, ${rows} rows: ${why}` };
  }

  async #smoke(): Promise<StepResult> {
    const { place, cli } = this.#parts;
    const { smoke, smokeSeconds } = place.rehearsal;
    const result = await runShell(
      smoke ?? '',
      { RESTAGE_CLONE_URL: this.#url },
      { limitMs: smokeSeconds * 1_000, signal: cli.signal },
    );
    if (result.code === 0) return { ok: true, says: 'the application passed' };
    const last = (result.complaint.trim() || result.output.trim()).split('\n').slice(-5).join('\n');
    const how = result.isLate ? `was not done after ${smokeSeconds} s` : `ended with ${result.code ?? 'a signal'}`;
    return { ok: false, says: `rehearsal.smoke ${how}${last === '' ? '' : `:\n${last}`}` };
  }

  /** @throws RestageError clone_refused when the sink ends before. */
  async #untilPast(sink: CloneSink, goal: Lsn, isShown: boolean): Promise<void> {
    const { cli } = this.#parts;
    const done = new AbortController();
    const showing = isShown ? showProgress(sink, goal, AbortSignal.any([done.signal, sink.ended])) : null;
    try {
      const { isReached } = await waitForLsn(sink.config, sink.target, goal, AbortSignal.any([cli.signal, sink.ended]));
      if (!isReached) await sink.requireAlive();
      if (!isReached) throw new RestageError('clone_refused', 'stopped before the clone had everything');
    } finally {
      done.abort();
      await showing;
    }
  }

  #ownSink(): CloneSink {
    if (this.#sink === null) throw new RestageError('bug', 'a step of a rehearsal came before its sink');
    return this.#sink;
  }

  async #stopSink(): Promise<void> {
    const sink = this.#sink;
    this.#sink = null;
    await sink?.stop();
  }
}

async function showProgress(sink: CloneSink, goal: Lsn, signal: AbortSignal): Promise<void> {
  const progress = makeReplayProgress(process.stderr, goal, Date.now);
  while (!signal.aborted) {
    progress.show(sink.status);
    const { through } = sink.status;
    if (through !== '' && parseLsn(through) >= goal && sink.status.load.isDone) break;
    await pause(LOOK_MS, signal);
  }
  progress.end();
}
