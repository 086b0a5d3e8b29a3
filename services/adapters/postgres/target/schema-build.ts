import type pg from 'pg';
import type { Failpoints } from '#core/failpoints.ts';
import { inGroups } from '#core/in-groups.ts';
import { quoteTable } from '#core/table-name.ts';
import { actAsReplica } from './apply-session.ts';
import { runSteps, SchemaJournal, type BuildPhase, type BuildStep, type JournalledStep } from './schema-journal.ts';

export interface SchemaBuildOptions {
  readonly pipeline: string;
  /** Connections that build at the same time. */
  readonly workers: number;
  /** A new session at the target; the build ends it. */
  readonly connect: () => Promise<pg.Client>;
  readonly failpoints: Failpoints;
}

/** These hold no lock that another session's step of the same phase waits for. */
const GROUPED: ReadonlySet<BuildPhase> = new Set(['index', 'key']);
/** Steps of small tables in one transaction: few enough that their locks fit into a server's table of locks many times over. */
const GROUPED_STEPS = 50;
const ANALYZED_AT_ONCE = 20;

/** What all three ways of getting a target's tables do after the load: the journalled steps, by phase. */
export class SchemaBuild {
  readonly #options: SchemaBuildOptions;

  constructor(options: SchemaBuildOptions) {
    this.#options = options;
  }

  async postLoad(): Promise<void> {
    await this.#phase('index', this.#options.workers);
    // Keys take the table's exclusive lock for a moment, and no two of one table could go on together.
    await this.#phase('key', 1);
    await this.#analyze();
  }

  /** Where session_replication_role is refused, what would act on the stream is left for `finish`. */
  async whenCaughtUp(): Promise<void> {
    const isReplica = await this.#with(actAsReplica);
    await this.#hookUp((step) => isReplica || step.waits !== true);
    await this.#phase('refresh', 1);
  }

  /** Everything that is left. */
  async finish(): Promise<void> {
    await this.#hookUp(() => true);
    await this.#phase('enable', 1);
  }

  /** What `finish` would do, in its order. */
  async left(): Promise<BuildStep[]> {
    return this.#with(async (client) => {
      const journal = new SchemaJournal(client, this.#options.pipeline);
      const steps: BuildStep[] = [];
      for (const phase of ['foreignKey', 'validate', 'trigger', 'enable'] as const)
        steps.push(...(await journal.open(phase)));
      return steps;
    });
  }

  async #hookUp(isDue: (step: BuildStep) => boolean): Promise<void> {
    // Adding a foreign key locks two tables, and two additions could wait for each other.
    await this.#phase('foreignKey', 1, isDue);
    await this.#phase('validate', this.#options.workers, isDue);
    await this.#phase('trigger', 1, isDue);
  }

  async #phase(phase: BuildPhase, workers: number, isDue: (step: BuildStep) => boolean = () => true): Promise<void> {
    const open = await this.#with((client) => new SchemaJournal(client, this.#options.pipeline).open(phase));
    const steps = open.filter(isDue);
    const { pipeline, failpoints } = this.#options;
    const groups = GROUPED.has(phase) ? groupSmall(steps) : steps.map((step) => [step]);
    await this.#spread(groups, workers, (client, group) => runSteps(client, pipeline, group, failpoints));
  }

  async #analyze(): Promise<void> {
    const tables = await this.#with((client) => new SchemaJournal(client, this.#options.pipeline).tables());
    await this.#spread(inGroups(tables, ANALYZED_AT_ONCE), this.#options.workers, async (client, group) => {
      for (const _ of group) this.#options.failpoints.hit('sink.analyze.before');
      // Each table is a transaction of its own (PostgreSQL: "ANALYZE", Notes).
      await client.query(`ANALYZE ${group.map(quoteTable).join(', ')}`);
      for (const _ of group) this.#options.failpoints.hit('sink.analyze.after');
    });
  }

  /** Hands the items to at most `workers` sessions; the first error stops the hand-out and is thrown when all have ended. */
  async #spread<T>(
    items: readonly T[],
    workers: number,
    work: (client: pg.Client, item: T) => Promise<void>,
  ): Promise<void> {
    const queue = [...items];
    const worker = (): Promise<void> =>
      this.#with(async (client) => {
        for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
          try {
            await work(client, item);
          } catch (error) {
            queue.length = 0;
            throw error;
          }
        }
      });
    const ends = await Promise.allSettled(Array.from({ length: Math.min(workers, items.length) }, worker));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  async #with<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = await this.#options.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  }
}

/** In their order: those of small tables together. */
function groupSmall(steps: readonly JournalledStep[]): JournalledStep[][] {
  const groups: JournalledStep[][] = [];
  let open: JournalledStep[] | null = null;
  for (const step of steps) {
    if (open !== null && step.isSmall && open.length < GROUPED_STEPS) {
      open.push(step);
      continue;
    }
    const group = [step];
    groups.push(group);
    open = step.isSmall ? group : null;
  }
  return groups;
}
