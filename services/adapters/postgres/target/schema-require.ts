import type pg from 'pg';
import type { Failpoints } from '#core/failpoints.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import type { SchemaBuild } from './schema-build.ts';
import { SchemaJournal } from './schema-journal.ts';
import { requireEmpty, requireFitting } from './target-tables.ts';

export interface SchemaRequireOptions {
  readonly pipeline: string;
  readonly connect: () => Promise<pg.Client>;
  readonly failpoints: Failpoints;
}

/**
 * `schema: require`: somebody else made the tables. They must fit, and be empty when the load begins. Nothing is altered, but what
 * takeAway takes for the time it must be away.
 */
export class SchemaRequire implements TargetSchema {
  readonly makesTables = false;
  readonly #options: SchemaRequireOptions;
  readonly #build: SchemaBuild;

  constructor(options: SchemaRequireOptions, build: SchemaBuild) {
    this.#options = options;
    this.#build = build;
  }

  async preData(tables: TableStructure[]): Promise<void> {
    const client = await this.#options.connect();
    try {
      const journal = new SchemaJournal(client, this.#options.pipeline);
      await requireFitting(client, tables);
      if (await journal.isPreDataDone()) return;
      await requireEmpty(client, tables);
      await journal.create();
      await client.query('BEGIN');
      await journal.finishPreData([], {
        how: 'require',
        tables: tables.map(({ schema, table }) => ({ schema, table })),
      });
      this.#options.failpoints.hit('sink.preData.before');
      await client.query('COMMIT');
      this.#options.failpoints.hit('sink.preData.after');
    } finally {
      await client.end();
    }
  }

  /** No key or index was taken, so only ANALYZE runs. */
  postLoad(): Promise<void> {
    return this.#build.postLoad();
  }

  whenCaughtUp(): Promise<void> {
    return this.#build.whenCaughtUp();
  }
}
