import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { formatLsn, LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';
import { isChosen, isLeftOut } from '#core/table-patterns.ts';
import { readTableName } from '#adapters/postgres/source/table-oids.ts';
import { chooseTables } from './choose-tables.ts';
import type { LateLoads } from './late-loads.ts';
import type { ProducerParts } from './producer-parts.ts';
import { renamed, replaced } from './table-alteration.ts';
import type { WrittenStructures } from './written-structures.ts';

export interface TableNamesOptions {
  readonly client: pg.ClientBase;
  readonly written: Pick<WrittenStructures, 'findByOid' | 'currentOf'>;
  /** The table of this name as the catalog has it, its topic made; null where source.tables does not choose it. */
  readonly open: (name: TableName) => Promise<TableStructure | null>;
  /** `source.tables`. */
  readonly patterns: readonly string[];
  /** Tables that rules name, by tableKey. */
  readonly ruled: ReadonlySet<string>;
  readonly coverOf: (topic: string, commit: Lsn) => ReturnType<LateLoads['coverOf']>;
}

/** In a producer's attempt. */
export function openTableNames(
  parts: Pick<ProducerParts, 'config' | 'ensureTopics'>,
  client: pg.Client,
  written: WrittenStructures,
  coverOf: TableNamesOptions['coverOf'],
): TableNames {
  const { tables } = parts.config.source;
  const rules = parts.config.outputs.flatMap((output) => output.rules);
  return new TableNames({
    client,
    written,
    open: async (name) => {
      if (!isChosen(name, tables)) return null;
      const [table = null] = await chooseTables(parts, client, (one) => tableKey(one) === tableKey(name));
      return table;
    },
    patterns: tables,
    ruled: new Set(rules.map(({ table }) => tableKey(table))),
    coverOf,
  });
}

/**
 * Names and the tables behind them: topics go by names, and a name may pass from one table to another. A table under another name, and
 * another table under a captured name, are loaded there before anything of them is written.
 */
export class TableNames {
  readonly #options: TableNamesOptions;

  constructor(options: TableNamesOptions) {
    this.#options = options;
  }

  /** The same of a table by its OID, as the catalog calls it now; one that is gone is followed by nobody. */
  async requireNumber(oid: number, chosen: (name: TableName) => TableStructure | null, commit: Lsn): Promise<void> {
    const name = await readTableName(this.#options.client, oid);
    if (name !== null) await this.require(oid, name, chosen(name), commit);
  }

  /**
   * `chosen`: the captured table of this name. `commit` is that of the open transaction.
   * @throws RewrittenError where another load is to follow; ddl_unsupported where nothing may.
   */
  async require(oid: number, name: TableName, chosen: TableStructure | null, commit: Lsn): Promise<void> {
    if (commit === LSN_ZERO) return;
    const { written, open, coverOf } = this.#options;
    const known = written.findByOid(oid)?.structure ?? null;
    if (known !== null && tableKey(known) !== tableKey(name)) return this.#requireRenamed(known, name, commit);
    const before = chosen === null ? null : (written.currentOf(chosen.topic)?.source ?? null);
    if (chosen === null || before === null || before.oid === oid) return;
    if ((await coverOf(chosen.topic, commit)) !== null) return;
    throw replaced((await open(name)) ?? chosen, `LSN ${formatLsn(commit)}`);
  }

  async #requireRenamed(known: TableStructure, name: TableName, commit: Lsn): Promise<void> {
    const { open, patterns, ruled, coverOf } = this.#options;
    if (isLeftOut(name, patterns)) return;
    const where = `${formatTable(known)} is ${formatTable(name)} now, LSN ${formatLsn(commit)}`;
    const back = `give it its old name back: ALTER TABLE … RENAME TO, or SET SCHEMA`;
    const table = await open(name);
    if (table === null)
      throw new RestageError('ddl_unsupported', 'a captured table was renamed, and source.tables does not choose it', {
        where,
        fix: `choose the new name in source.tables, and the table is followed; or leave it out from here on with "!${formatTable(name)}"; or ${back}`,
      });
    if ((await coverOf(table.topic, commit)) !== null) return;
    if (ruled.has(tableKey(known)))
      throw new RestageError('ddl_unsupported', 'a table that rules name was renamed at the source', {
        where,
        fix: `${back}; or name it by its new name in the rules of an output's next version`,
      });
    throw renamed(table, where);
  }
}
