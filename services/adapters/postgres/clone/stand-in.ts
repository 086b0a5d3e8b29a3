import type pg from 'pg';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { quoteIdentifier, quoteTable } from '#core/table-name.ts';
import { MAY_REPLICATE } from '../replication-right.ts';
import { connectPg } from '../session.ts';
import { dropClone } from './clone-database.ts';
import { TemplateClone } from './template-clone.ts';

/**
 * A database that stands for the source while a switch is rehearsed: a copy of the clone's files, with the names that tables and columns
 * have at the source. So both have the same rows, and nobody reads them from the source.
 */
export class StandIn {
  readonly name: string;
  readonly #client: pg.ClientBase;
  readonly #url: string;
  readonly #clone: string;

  /** `clone`: its name, and that of a database on the same server. */
  constructor(client: pg.ClientBase, url: string, clone: string) {
    this.name = standInName(clone);
    this.#client = client;
    this.#url = url;
    this.#clone = clone;
  }

  /** Its URL. The clone may have no sessions meanwhile. `inverse`: from names at the target to those at the source. */
  async create(inverse: readonly RuleConfig[]): Promise<string> {
    const url = await new TemplateClone(this.#client, this.#url, this.#clone).create(this.name);
    const client = await connectPg({ url, purpose: 'target', application: 'restage rehearse' });
    try {
      await client.query('BEGIN');
      // What a sink keeps of the clone is the clone's.
      await client.query('DROP SCHEMA IF EXISTS restage CASCADE');
      for (const statement of renames(inverse)) await client.query(statement);
      await client.query('COMMIT');
    } finally {
      await client.end();
    }
    return url;
  }

  /** Why no pipeline can run between databases of this server; null: one can. */
  async obstacle(): Promise<string | null> {
    const { rows } = await this.#client.query<{ level: string; may: boolean; free: number }>(
      `SELECT current_setting('wal_level') AS level,
              ${MAY_REPLICATE} AS may,
              current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots)::int AS free`,
    );
    const [row] = rows;
    if (row === undefined || row.level !== 'logical') return 'the server of the clones has not wal_level = logical';
    if (!row.may) return 'the role of the clones may not replicate (ALTER ROLE … REPLICATION)';
    return row.free < SLOTS ? `the server of the clones has ${row.free} free slots, of ${SLOTS} that it takes` : null;
  }

  drop(): Promise<void> {
    return dropClone(this.#client, this.name);
  }
}

/** There and back; one more while a comparison takes its snapshot. */
const SLOTS = 3;
const SUFFIX = '_source';

/** Within PostgreSQL's 63 bytes, as clones' names are. */
export function standInName(clone: string): string {
  return `${clone.slice(0, 63 - SUFFIX.length)}${SUFFIX}`;
}

/** By way of names that nobody has: rules may exchange two. */
function renames(inverse: readonly RuleConfig[]): string[] {
  const before: string[] = [];
  const after: string[] = [];
  inverse.forEach(({ table, rename, renameColumns, dropColumns }, at) => {
    const to = rename ?? table;
    const between = quoteIdentifier(`restage_table_${at}`);
    for (const column of dropColumns)
      before.push(`ALTER TABLE ${quoteTable(table)} DROP COLUMN ${quoteIdentifier(column)}`);
    const columns = [...renameColumns];
    columns.forEach(([from], n) =>
      before.push(`ALTER TABLE ${quoteTable(table)} RENAME COLUMN ${quoteIdentifier(from)} TO restage_column_${n}`),
    );
    columns.forEach(([, name], n) =>
      before.push(`ALTER TABLE ${quoteTable(table)} RENAME COLUMN restage_column_${n} TO ${quoteIdentifier(name)}`),
    );
    before.push(`ALTER TABLE ${quoteTable(table)} RENAME TO ${between}`);
    if (to.schema !== table.schema) {
      before.push(`CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(to.schema)}`);
      before.push(`ALTER TABLE ${quoteIdentifier(table.schema)}.${between} SET SCHEMA ${quoteIdentifier(to.schema)}`);
    }
    after.push(`ALTER TABLE ${quoteIdentifier(to.schema)}.${between} RENAME TO ${quoteIdentifier(to.table)}`);
  });
  return [...before, ...after];
}
