import type pg from 'pg';
import { DeadLetterStore, hasDeadLetters } from '#adapters/postgres/target/dead-letter-store.ts';
import type { Config, OutputConfig } from '#core/config.ts';
import type { DeadLetter } from '#core/dead-letter.ts';
import type { TableRules } from '#core/rules/table-rules.ts';
import { tableKey, type TableName } from '#core/table-name.ts';
import type { RowKey, TableReport } from '#core/verify/verify-report.ts';
import { askKafka } from '../check/ask-kafka.ts';
import { readOutputs } from '../dlq/output-letters.ts';

/** Says of rows that differ which dead letter waits there: they differ all the same. */
export async function nameDeadLetters(
  target: pg.ClientBase,
  pipeline: string,
  tables: readonly TableReport[],
): Promise<TableReport[]> {
  if (!(await hasDeadLetters(target))) return [...tables];
  const store = new DeadLetterStore(target, pipeline);
  const named: TableReport[] = [];
  for (const table of tables) {
    const keys = table.different.map(({ key }) => key);
    const letters = keys.length === 0 ? new Map<number, string>() : await store.ofRows(table.targetTable, keys);
    const different = table.different.map((row, at) => {
      const deadLetter = letters.get(at);
      return deadLetter === undefined ? row : { ...row, deadLetter };
    });
    named.push({ ...table, different });
  }
  return named;
}

type Letter = Pick<DeadLetter, 'id' | 'table' | 'rowKey'>;

/** The same of what waits behind the output's rules; where Kafka is away none is named. */
export async function nameOutputLetters(
  config: Config,
  output: OutputConfig | undefined,
  compiled: readonly TableRules[],
  tables: readonly TableReport[],
): Promise<TableReport[]> {
  if (output === undefined || tables.every(isWhole)) return [...tables];
  const open = await askKafka(config, [], (pool) => readOutputs(pool, config));
  const letters = open.find((one) => one.output === output)?.letters ?? [];
  return letters.length === 0 ? [...tables] : tables.map((table) => nameIn(table, letters, compiled));
}

function isWhole({ different, unverified }: TableReport): boolean {
  return different.length === 0 && unverified.length === 0;
}

/** A letter has its row's key as the source names it; the oldest one counts. */
function nameIn(table: TableReport, letters: readonly Letter[], compiled: readonly TableRules[]): TableReport {
  const waiting = letters.flatMap((letter) =>
    keysBehind(letter, table.targetTable, compiled).map((key) => ({ id: letter.id, key })),
  );
  const different = table.different.map((row) => {
    const found = waiting.find(({ key }) => key.every(([name, text]) => row.key[name] === text));
    return found === undefined ? row : { ...row, deadLetter: found.id };
  });
  // By the source's key: a rule failed for the row.
  const sources = [table.table, ...(table.alsoFrom ?? [])].map(tableKey);
  const own = letters.filter((letter) => sources.includes(tableKey(letter.table)));
  const unverified = table.unverified.map((row) => {
    const found = own.find(({ rowKey }) => rowKey !== null && isSameKey(row.key, rowKey));
    return found === undefined ? row : { ...row, deadLetter: found.id };
  });
  return { ...table, different, unverified };
}

function isSameKey(key: RowKey, other: NonNullable<Letter['rowKey']>): boolean {
  const columns = Object.keys(key);
  return columns.length > 0 && columns.every((column) => other[column] === key[column]);
}

/** What of a target row's key a letter tells, for each rule; nothing where the rules give keys of their own. */
function keysBehind(
  { table, rowKey }: Letter,
  targetTable: TableName,
  compiled: readonly TableRules[],
): (readonly (readonly [string, string])[])[] {
  const rules = compiled.find(({ source }) => tableKey(source) === tableKey(table));
  const branches = rules?.branches.filter(({ shaped }) => tableKey(shaped) === tableKey(targetTable)) ?? [];
  return branches.flatMap((branch) => {
    const { isUnchanged, constants, shaped } = branch;
    const own = Object.entries(rowKey ?? {}).flatMap(([column, text]): [keyof RowKey, string][] => {
      const name = isUnchanged ? column : branch.nameOf(column);
      return name === null || text === null || !shaped.identity.columns.includes(name) ? [] : [[name, text]];
    });
    const fixed = [...constants].filter(([name]) => shaped.identity.columns.includes(name));
    return own.length === 0 ? [] : [[...own, ...fixed]];
  });
}
