import type pg from 'pg';
import { quoteTable } from '#core/table-name.ts';
import { runStep, SchemaJournal, type BuildPhase, type JournalledStep } from './schema-journal.ts';

export interface SchemaBuildOptions {
  readonly pipeline: string;
  /** Connections that build at the same time. */
  readonly workers: number;
  /** A new session at the target; the build ends it. */
  readonly connect: () => Promise<pg.Client>;
}

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

  async whenCaughtUp(): Promise<void> {
    // Adding a foreign key locks two tables, and two additions could wait for each other.
    await this.#phase('foreignKey', 1);
    await this.#phase('validate', this.#options.workers);
    await this.#phase('trigger', 1);
    await this.#phase('refresh', 1);
  }

  async #phase(phase: BuildPhase, workers: number): Promise<void> {
    const steps = await this.#with((client) => new SchemaJournal(client, this.#options.pipeline).open(phase));
    await this.#spread(steps, workers, (client, step: JournalledStep) => runStep(client, this.#options.pipeline, step));
  }

  async #analyze(): Promise<void> {
    const tables = await this.#with((client) => new SchemaJournal(client, this.#options.pipeline).tables());
    await this.#spread(tables, this.#options.workers, async (client, table) => {
      await client.query(`ANALYZE ${quoteTable(table)}`);
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
