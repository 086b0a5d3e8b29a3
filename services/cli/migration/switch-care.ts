import type pg from 'pg';
import { copyLargeObjects, settleLargeObjects } from '#adapters/postgres/migration/large-objects.ts';
import { analyzeStale, refreshViews } from '#adapters/postgres/migration/target-care.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import type { Evidence } from '#core/migration/journal.ts';
import { urlOf, type Ends, type Migration } from './ends.ts';

/** What no stream brings to the side that takes over: large objects, materialized views and statistics. In sessions that a stop cuts. */
export class SwitchCare {
  readonly #migration: Migration;
  readonly #term: number;

  constructor(migration: Migration, term: number) {
    this.#migration = migration;
    this.#term = term;
  }

  /** `isLast`: behind the fence, where both sides must be equal afterwards. */
  async objects({ from, to }: Ends, isLast: boolean, signal: AbortSignal): Promise<Evidence> {
    const { keys, there } = this.#migration;
    if (there.target.largeObjects === 'leave') return { objects: 'left' };
    const copy = isLast ? settleLargeObjects : copyLargeObjects;
    return this.#with(from, signal, (theirs) =>
      this.#with(to, signal, async (ours) => ({
        ...(await copy({ client: theirs, key: keys[from] }, { client: ours, key: keys[to] }, this.#term, signal)),
      })),
    );
  }

  async refresh({ to }: Ends, signal: AbortSignal): Promise<Evidence> {
    const views = await this.#with(to, signal, (client) => refreshViews(client, this.#migration.tables[to]));
    return { views };
  }

  async analyze({ to }: Ends, signal: AbortSignal): Promise<Evidence> {
    return this.#with(to, signal, async (client) => ({ ...(await analyzeStale(client, this.#migration.tables[to])) }));
  }

  async #with<T>(side: Ends['to'], until: AbortSignal, work: (client: pg.Client) => Promise<T>): Promise<T> {
    const application = `restage ${this.#migration.there.config.name} operator care`;
    const client = await connectPg({ url: urlOf(this.#migration, side), purpose: side, application, until });
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  }
}
