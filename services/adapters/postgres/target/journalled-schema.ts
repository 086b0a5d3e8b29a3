import type pg from 'pg';
import type { Failpoints } from '#core/failpoints.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import type { SchemaBuild } from './schema-build.ts';
import { SchemaJournal, type BuildStep } from './schema-journal.ts';
import { requireFitting } from './target-tables.ts';

export interface JournalledSchemaOptions {
  readonly pipeline: string;
  readonly connect: () => Promise<pg.Client>;
  readonly failpoints: Failpoints;
}

/** One way for a target to get its tables. */
export interface TableMaker {
  readonly how: 'copy' | 'create' | 'require';
  readonly makesTables: boolean;
  /**
   * Asks what has to hold, and gives what is then done in one transaction, which answers with the steps that wait for the load's end.
   * @throws RestageError schema_missing, schema_differs, target_not_empty.
   */
  prepare(client: pg.Client, tables: TableStructure[]): Promise<() => Promise<readonly BuildStep[]>>;
}

/** The transaction that makes the tables ends with the journal's entry: a crash leaves all or nothing. */
export class JournalledSchema implements TargetSchema {
  readonly #options: JournalledSchemaOptions;
  readonly #maker: TableMaker;
  readonly #build: SchemaBuild;

  constructor(options: JournalledSchemaOptions, maker: TableMaker, build: SchemaBuild) {
    this.#options = options;
    this.#maker = maker;
    this.#build = build;
  }

  get makesTables(): boolean {
    return this.#maker.makesTables;
  }

  async preData(tables: TableStructure[]): Promise<void> {
    const { connect, pipeline, failpoints } = this.#options;
    const client = await connect();
    try {
      const journal = new SchemaJournal(client, pipeline);
      if (await journal.isPreDataDone()) return await requireFitting(client, tables);
      const make = await this.#maker.prepare(client, tables);
      await journal.create();
      await client.query('BEGIN');
      const steps = await make();
      await journal.finishPreData(steps, {
        how: this.#maker.how,
        tables: tables.map(({ schema, table }) => ({ schema, table })),
      });
      failpoints.hit('sink.preData.before');
      await client.query('COMMIT');
      failpoints.hit('sink.preData.after');
    } finally {
      await client.end();
    }
  }

  postLoad(): Promise<void> {
    return this.#build.postLoad();
  }

  whenCaughtUp(): Promise<void> {
    return this.#build.whenCaughtUp();
  }
}
