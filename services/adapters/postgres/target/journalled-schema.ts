import type pg from 'pg';
import type { Failpoints } from '#core/failpoints.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TableName } from '#core/table-name.ts';
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
   * Asks what has to hold of the tables that no transaction before made, and gives what is then done, a transaction each, which answers
   * with the steps that wait for the load's end. @throws RestageError schema_missing, schema_differs, target_not_empty.
   */
  prepare(client: pg.Client, tables: TableStructure[]): Promise<readonly MakeTables[]>;
}

/** Of some tables, in a transaction. */
export interface MakeTables {
  readonly tables: readonly TableName[];
  readonly run: () => Promise<readonly BuildStep[]>;
}

/** Each transaction that makes tables ends with the journal's entry of it: a crash leaves no table that nobody noted. */
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
      const work = await this.#maker.prepare(client, await journal.withoutMade(tables));
      await journal.create();
      for (const [index, part] of work.entries()) {
        await client.query('BEGIN');
        await journal.addMade(await part.run(), part.tables);
        if (index === work.length - 1) await journal.finishPreData(this.#maker.how);
        failpoints.hit('sink.preData.before');
        await client.query('COMMIT');
        failpoints.hit('sink.preData.after');
      }
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
