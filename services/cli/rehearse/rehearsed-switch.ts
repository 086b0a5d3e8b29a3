import type { Config, TargetConfig } from '#core/config.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import type { SwitchReport } from '#core/migration/migration-report.ts';
import type { RehearsalStep } from '#core/rehearsal/rehearsal-report.ts';
import { trialPipeline } from '#core/rehearsal/trial-pipeline.ts';
import { formatTable } from '#core/table-name.ts';
import type { CliEnvironment } from '../environment.ts';
import type { Migration } from '../migration/ends.ts';
import { openMigration } from '../migration/open-migration.ts';
import type { ClonePlace } from './clone-place.ts';
import { TrialMigration, type Proof } from './trial-migration.ts';

type StepResult = Pick<RehearsalStep, 'ok' | 'says'>;

interface SwitchParts {
  readonly config: Config;
  readonly target: TargetConfig;
  readonly place: ClonePlace;
  readonly cli: CliEnvironment;
  readonly logger: Logger;
}

/** The cutover and the rollback of a rehearsal, where the clones' server and the rules let them be rehearsed. */
export class RehearsedSwitch {
  readonly switches: SwitchReport[] = [];
  readonly leftOut: string[] = [];
  readonly #parts: SwitchParts;
  #live: Migration | null = null;
  #trial: TrialMigration | null = null;

  constructor(parts: SwitchParts) {
    this.#parts = parts;
  }

  /** Else says what is left out, and why. */
  async isPossible(): Promise<boolean> {
    const why = await this.#obstacle();
    if (why === null) return true;
    this.leftOut.push(`cutover and rollback: ${why}`);
    this.#parts.cli.err(`cutover and rollback are not rehearsed: ${why}\n`);
    return false;
  }

  async #obstacle(): Promise<string | null> {
    const { config, target, place } = this.#parts;
    if (!place.rehearsal.rollback) return 'rehearsal.rollback is false';
    if (place.standIn === null) return 'a clone that a command makes has no copy to stand for the source';
    const live = await openMigration(config, target);
    this.#live = live;
    const [lost] = live.back.lost;
    if (lost !== undefined) return `there is no way back: ${formatTable(lost.table)}: ${lost.why}`;
    return place.standIn.obstacle();
  }

  async cutover(cloneUrl: string, proof: Proof): Promise<StepResult> {
    const { config, target, place, cli, logger } = this.#parts;
    const { standIn } = place;
    const live = this.#live;
    if (standIn === null || live === null) throw new RestageError('bug', 'nobody asked whether a switch is possible');
    await standIn.drop();
    const standInUrl = await standIn.create(live.back.config.outputs.flatMap(({ rules }) => rules));
    const line = trialPipeline(config, target, { standInUrl, cloneUrl, tables: live.tables.source });
    this.#trial = await TrialMigration.start(line, proof, logger, cli);
    return this.#switchTo('target');
  }

  rollback(): Promise<StepResult> {
    return this.#switchTo('source');
  }

  /** With the database that stood for the source. */
  async close(): Promise<void> {
    const trial = this.#trial;
    this.#trial = null;
    try {
      await trial?.close();
    } finally {
      await this.#parts.place.standIn?.drop();
    }
  }

  async #switchTo(to: 'source' | 'target'): Promise<StepResult> {
    if (this.#trial === null) throw new RestageError('bug', 'a rollback is rehearsed after its cutover');
    try {
      const { touched, ...report } = await this.#trial.switchTo(to);
      this.switches.push(report);
      const took = (['fence', 'drain', 'verify'] as const).map(
        (name) => `${name} ${report.steps.find((step) => step.name === name)?.ms ?? 0} ms`,
      );
      return {
        ok: true,
        says: `writes refused for ${report.unavailableMs ?? 0} ms: ${took.join(', ')}; ${touched} rows written before`,
      };
    } catch (error) {
      // Which side of the clones is live is nobody's concern: both go.
      return { ok: false, says: describeError(error) };
    }
  }
}
