import { randomUUID } from 'node:crypto';
import { noteInJournal } from '#adapters/postgres/migration/migration-journal.ts';
import { prepareSide, setGate } from '#adapters/postgres/migration/side-state.ts';
import { inTransaction } from '#adapters/postgres/in-transaction.ts';
import { TargetState } from '#adapters/postgres/target/target-state.ts';
import { pause } from '#core/backoff.ts';
import type { Config } from '#core/config.ts';
import { startDeadline } from '#core/deadline.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn } from '#core/lsn.ts';
import { otherSide, type Side } from '#core/migration/journal.ts';
import { joinHands } from '#core/migration/join-hands.ts';
import { switchesOf, type SwitchReport } from '#core/migration/migration-report.ts';
import { runSwitch } from '#core/migration/switch-run.ts';
import { requireReadySource } from '../../producer/preflight.ts';
import type { CliEnvironment } from '../environment.ts';
import { urlOf, type Line, type Migration } from '../migration/ends.ts';
import { openMigration } from '../migration/open-migration.ts';
import { OperatorGroup } from '../migration/operator-group.ts';
import { whoAmI } from '../migration/operator.ts';
import { prepareSwitch } from '../migration/prepare.ts';
import { readStreamLife, type StreamLife } from '../migration/stream-life.ts';
import { collectChanged, handsOf } from '../migration/switch-command.ts';
import { baselineLoops } from '../pipeline-loops.ts';
import { processFailpoints } from '../process-failpoints.ts';
import { runService } from '../service-command.ts';
import { markCurrentLsn } from '../source-figures.ts';
import { connectTarget } from '../target-checkpoint.ts';
import { forgetTrial } from './forget-trial.ts';
import { touchRows } from './touch-rows.ts';

/** Of the rehearsed switches: wide, for what they take is measured, and judged by a budget. */
const TIME_BOX_MS = 120_000;
const STREAM_MS = 120_000;
const POLL_MS = 100;

/** The comparison of clone and source that came before: both sides here are copies of that clone. */
export interface Proof {
  readonly seconds: number;
  readonly rows: number;
}

/**
 * A migration of a clone, whole: pipelines there and back between it and the database that stands for the source, with topics, slots and a
 * journal of its own, and the same engine that switches live ones. Nothing of it touches the live source, target or pipeline.
 */
export class TrialMigration {
  readonly #migration: Migration;
  readonly #logger: Logger;
  readonly #cli: CliEnvironment;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>[] = [];

  private constructor(migration: Migration, logger: Logger, cli: CliEnvironment) {
    this.#migration = migration;
    this.#logger = logger;
    this.#cli = cli;
  }

  /** Starts both pipelines; `line`: the way there. @throws RestageError of what the server of the clones does not let them. */
  static async start(line: Line, proof: Proof, logger: Logger, cli: CliEnvironment): Promise<TrialMigration> {
    const migration = await openMigration(line.config, line.target);
    const trial = new TrialMigration(migration, logger, cli);
    try {
      // Also what a rehearsal that was killed has left in Kafka.
      await forgetTrial(line, logger, cli);
      await requireReadySource(line.config, logger);
      await trial.#adopt(proof);
      return trial;
    } catch (error) {
      await trial.close();
      throw error;
    }
  }

  /** As `restage cutover` and `restage rollback` do it, after some rows of the live side were written. The report is of this switch. */
  async switchTo(to: Side): Promise<SwitchReport & { readonly touched: number }> {
    const { there, back } = this.#migration;
    const group = await OperatorGroup.open([this.#migration], this.#logger, this.#cli.signal);
    try {
      const signal = AbortSignal.any([this.#cli.signal, group.lost]);
      const { members } = group;
      let touched = 0;
      await runSwitch({
        to,
        timeBoxMs: TIME_BOX_MS,
        wayBack: true,
        journal: group,
        hands: joinHands(
          members.map((member) => ({ name: member.name, hands: handsOf(member, { terminates: false }, this.#logger) })),
        ),
        guards: async () => {
          for (const { migration, operator, own } of members)
            await prepareSwitch(migration, operator, own, { wayBack: true, together: [] }, () => undefined);
          await group.refresh();
          await this.#stream(back);
          const from = otherSide(to);
          touched = await touchRows(urlOf(this.#migration, from), this.#migration.tables[from]);
          for (const member of members)
            member.changed = await collectChanged(member, { to, timeBoxMs: TIME_BOX_MS }, this.#logger, signal);
        },
        say: (text) => this.#cli.err(`  ${text}\n`),
        failpoints: processFailpoints(this.#cli.env),
        clock: Date.now,
        signal,
      });
      const report = switchesOf(await group.read()).at(-1);
      if (report === undefined)
        throw new RestageError('bug', 'a switch is in no journal', { where: there.config.name });
      return { ...report, touched };
    } finally {
      await group.close();
    }
  }

  /** What both pipelines have anywhere is taken away; the databases are the caller's. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#running);
    await forgetTrial(this.#migration.there, this.#logger, this.#cli);
  }

  /** Both sides are the same, and nobody writes: the way there begins from here. The way back waits for its switch by itself. */
  async #adopt({ seconds, rows }: Proof): Promise<void> {
    const { there, back } = this.#migration;
    await this.#run(there.config);
    await this.#run(back.config);
    const life = await this.#stream(there);
    const through = await markCurrentLsn(there.config);
    const client = await connectTarget(there.config, there.target);
    try {
      const state = new TargetState(there.config.name, randomUUID());
      await state.prepare(client);
      await prepareSide(client);
      await inTransaction(client, () => state.adopt(client, { ...life, through }));
      await setGate(client, there.config.name, { isClosed: false, reason: '' });
      const since = formatLsn(through);
      const verified = { kind: 'verified', from: 'source', verdict: 'equal', seconds, rows, since } as const;
      await noteInJournal(client, there.config.name, verified, { at: new Date().toISOString(), by: whoAmI() });
    } finally {
      await client.end();
    }
  }

  async #run(config: Config): Promise<void> {
    const loops = await baselineLoops(config);
    const signal = AbortSignal.any([this.#cli.signal, this.#stop.signal]);
    const run = runService(config, loops, () => Promise.resolve(), this.#logger, { ...this.#cli, signal });
    run.catch(() => undefined);
    this.#running.push(run);
  }

  /** Once its stream is in Kafka. @throws RestageError switch_refused. */
  async #stream(line: Line): Promise<StreamLife> {
    const deadline = startDeadline(STREAM_MS, this.#cli.signal);
    try {
      while (!deadline.signal.aborted) {
        const life = await readStreamLife(line, this.#logger).catch(() => null);
        if (life !== null) return life;
        await pause(POLL_MS, deadline.signal);
      }
    } finally {
      deadline.cancel();
    }
    throw new RestageError('switch_refused', `the rehearsed pipeline ${line.config.name} does not begin to stream`, {
      where: 'services of the rehearsed switch, in this process',
      fix: 'see what they logged; the clones need wal_level = logical and two free slots',
    });
  }
}
