import type pg from 'pg';
import { quoteIdentifier } from '#core/table-name.ts';
import type { Parameter } from './bind-message.ts';
import { runStatement } from './long-query.ts';
import type { TargetTable } from './target-table.ts';

export interface IdentityReplacement {
  /** What DELETE joins with, or '' for nothing. */
  readonly using: string;
  /** Over the table as `t`. */
  readonly where: string;
  /** New values of GENERATED ALWAYS columns, as SQL over `using`. */
  readonly values: ReadonlyMap<string, string>;
  readonly parameters: readonly Parameter[];
}

/**
 * Gives rows other values in GENERATED ALWAYS columns, as `SET id = DEFAULT` did at the source. UPDATE may not, INSERT may: the row is
 * put back by the statement that takes it (PostgreSQL: "CREATE TABLE", GENERATED ALWAYS). Rows that have the values stay untouched.
 */
export async function replaceIdentityValues(
  client: pg.ClientBase,
  table: TargetTable,
  { using, where, values, parameters }: IdentityReplacement,
): Promise<void> {
  const changed = [...values]
    .map(([name, value]) => `t.${quoteIdentifier(name)} IS DISTINCT FROM ${value}`)
    .join(' OR ');
  const columns = [...table.columns.keys()];
  const kept = columns
    .map((name, index) => `${values.get(name) ?? `t.${quoteIdentifier(name)}`} AS v${index}`)
    .join(', ');
  const list = columns.map(quoteIdentifier).join(', ');
  await runStatement(
    client,
    `WITH taken AS (DELETE FROM ${table.only} AS t ${using === '' ? '' : `USING ${using}`} WHERE ${where} AND (${changed}) RETURNING ${kept})
     INSERT INTO ${table.sql} (${list}) OVERRIDING SYSTEM VALUE SELECT ${columns.map((_, index) => `v${index}`).join(', ')} FROM taken`,
    parameters,
  );
}
