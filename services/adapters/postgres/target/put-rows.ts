import type pg from 'pg';
import { imageKey, type Image } from '#core/change.ts';
import type { SourceChange } from '#core/debezium-source/row-change.ts';
import { RestageError } from '#core/errors.ts';
import { LSN_ZERO } from '#core/lsn.ts';
import { formatTable, quoteIdentifier } from '#core/table-name.ts';
import { castText } from '../value-type.ts';
import { insertRows } from './bulk-apply.ts';
import { runStatement } from './long-query.ts';
import { applyRow } from './row-apply.ts';
import { arraysOf, columnOf, matchKeys, unnest } from './row-arrays.ts';
import type { TargetTable } from './target-table.ts';

type Put = Extract<SourceChange, { kind: 'put' }>;
type Move = Extract<SourceChange, { kind: 'move' }>;

/** Keys whose rows an event completes that the target does not hold, and keys whose rows are whole now. */
export interface PutResult {
  readonly missing: readonly Image[];
  readonly made: readonly Image[];
}

const NO_POSITION = { commit: LSN_ZERO, ordinal: 0 };

/**
 * Makes rows what changes say they are to be, whatever the table holds: the last change of each key decides, in bulk. A change that
 * leaves values out needs the row; where it is not there, its key comes back as missing.
 */
export async function putRows(
  client: pg.ClientBase,
  table: TargetTable,
  changes: readonly SourceChange[],
): Promise<PutResult> {
  const result = { missing: [] as Image[], made: [] as Image[] };
  let fold = new Fold(table.identity);
  let adds: Image[] = [];
  const flush = async (): Promise<void> => {
    await applyFold(client, table, fold, result);
    await insertRows(client, table, adds);
    fold = new Fold(table.identity);
    adds = [];
  };
  for (const change of changes) {
    if (change.kind === 'put' || change.kind === 'remove') {
      fold.add(change);
      // Keys that are equal may differ in their text: then each is a statement of its own.
      if (!table.isFoldable) await flush();
    } else if (change.kind === 'add') adds.push(change.after);
    else {
      await flush();
      await putOther(client, table, change, result);
    }
  }
  await flush();
  return result;
}

type Result = { readonly missing: Image[]; readonly made: Image[] };

async function putOther(
  client: pg.ClientBase,
  table: TargetTable,
  change: Exclude<SourceChange, { kind: 'put' | 'remove' | 'add' }>,
  result: Result,
): Promise<void> {
  switch (change.kind) {
    case 'move':
      return moveRow(client, table, change, result);
    case 'replace':
      return changeOne(client, table, change.before, change.after);
    case 'erase':
      return changeOne(client, table, change.before, null);
  }
}

/** The last state of each key, in the order of their first changes. */
class Fold {
  readonly removes = new Map<string, Image>();
  readonly puts = new Map<string, Put>();
  readonly #identity: readonly string[];

  constructor(identity: readonly string[]) {
    this.#identity = identity;
  }

  add(change: Extract<SourceChange, { kind: 'put' | 'remove' }>): void {
    const key = imageKey(change.key, this.#identity);
    if (change.kind === 'remove') {
      this.puts.delete(key);
      this.removes.set(key, change.key);
      return;
    }
    const known = this.puts.get(key);
    if (change.isWhole || known === undefined) {
      this.puts.set(key, change);
      if (change.isWhole) this.removes.delete(key);
    } else this.puts.set(key, { ...change, after: new Map([...known.after, ...change.after]), isWhole: known.isWhole });
  }
}

async function applyFold(client: pg.ClientBase, table: TargetTable, fold: Fold, result: Result): Promise<void> {
  const removes = [...fold.removes.values()];
  await deleteKeys(client, table, removes);
  result.made.push(...removes);
  const puts = [...fold.puts.values()];
  for (const group of groupByColumns(puts.filter(({ isWhole }) => !isWhole)))
    result.missing.push(...(await updateKeys(client, table, group)));
  const whole = puts.filter(({ isWhole }) => isWhole);
  for (const group of groupByColumns(whole)) await upsert(client, table, group);
  result.made.push(...whole.map(({ key }) => key));
}

function groupByColumns(puts: readonly Put[]): Put[][] {
  const groups = new Map<string, Put[]>();
  for (const put of puts) {
    const columns = JSON.stringify([...put.after.keys()]);
    const group = groups.get(columns);
    if (group === undefined) groups.set(columns, [put]);
    else group.push(put);
  }
  return [...groups.values()];
}

async function deleteKeys(client: pg.ClientBase, table: TargetTable, keys: readonly Image[]): Promise<void> {
  if (keys.length === 0) return;
  await runStatement(
    client,
    `DELETE FROM ${table.only} AS t USING ${unnest(table.identity.length)} WHERE ${matchKeys(table)}`,
    arraysOf(keys, table.identity),
  );
}

/** INSERT … ON CONFLICT needs a unique index on the key, which openTable has asked for (PostgreSQL: "INSERT", ON CONFLICT). */
async function upsert(client: pg.ClientBase, table: TargetTable, puts: readonly Put[]): Promise<void> {
  const names = [...(puts[0]?.after.keys() ?? [])];
  const images = puts.map(({ after }) => after);
  const settable = names.filter((name) => !table.identity.includes(name));
  // Only an INSERT may give GENERATED ALWAYS columns their values.
  if (settable.some((name) => columnOf(table, name).isAlwaysIdentity))
    await deleteKeys(
      client,
      table,
      puts.map(({ key }) => key),
    );
  const set = settable
    .filter((name) => !columnOf(table, name).isAlwaysIdentity)
    .map((name) => `${quoteIdentifier(name)} = excluded.${quoteIdentifier(name)}`);
  const values = names.map((name, index) => castText(columnOf(table, name), `s.c${index}`)).join(', ');
  await runStatement(
    client,
    `INSERT INTO ${table.sql} (${names.map(quoteIdentifier).join(', ')}) OVERRIDING SYSTEM VALUE
     SELECT ${values} FROM ${unnest(names.length)}
     ON CONFLICT (${table.identity.map(quoteIdentifier).join(', ')}) DO ${set.length === 0 ? 'NOTHING' : `UPDATE SET ${set.join(', ')}`}`,
    arraysOf(images, names),
  );
}

/** Returns the keys whose rows are not there. */
async function updateKeys(client: pg.ClientBase, table: TargetTable, puts: readonly Put[]): Promise<Image[]> {
  const { identity } = table;
  const names = [...(puts[0]?.after.keys() ?? [])].filter(
    (name) => !identity.includes(name) && !columnOf(table, name).isAlwaysIdentity,
  );
  const keys = puts.map(({ key }) => key);
  const set = names.map(
    (name, index) => `${quoteIdentifier(name)} = ${castText(columnOf(table, name), `s.c${identity.length + index}`)}`,
  );
  const parameters = [
    ...arraysOf(keys, identity),
    ...arraysOf(
      puts.map(({ after }) => after),
      names,
    ),
  ];
  const numbers = unnest(parameters.length, true);
  const { rows } = await runStatement<{ n: string }>(
    client,
    set.length === 0
      ? `SELECT s.n::text AS n FROM ${table.only} AS t, ${numbers} WHERE ${matchKeys(table)}`
      : `UPDATE ${table.only} AS t SET ${set.join(', ')} FROM ${numbers} WHERE ${matchKeys(table)} RETURNING s.n::text AS n`,
    parameters,
  );
  if (rows.length === puts.length) return [];
  const done = new Set(rows.map(({ n }) => Number(n)));
  return keys.filter((_, index) => !done.has(index + 1));
}

/** A row that changed its key keeps what the event leaves out; where the old one is not there, or the new one is, only the new one counts. */
async function moveRow(client: pg.ClientBase, table: TargetTable, change: Move, result: Result): Promise<void> {
  const { oldKey, key, after, isWhole } = change;
  const there = await runStatement(
    client,
    `SELECT FROM ${table.only} AS t, ${unnest(table.identity.length)} WHERE ${matchKeys(table)}`,
    arraysOf([key], table.identity),
  );
  if ((there.rowCount ?? 0) === 0) {
    try {
      const update = { kind: 'update', position: NO_POSITION, key: oldKey, before: null, after } as const;
      await applyRow(client, table, update, 'target_drift');
      result.made.push(oldKey, ...(isWhole ? [key] : []));
      return;
    } catch (error) {
      if (!(error instanceof RestageError) || error.code !== 'target_drift') throw error;
    }
  }
  const fold = new Fold(table.identity);
  fold.add({ ...change, kind: 'remove', key: oldKey });
  fold.add({ ...change, kind: 'put' });
  await applyFold(client, table, fold, result);
}

/** One of the rows that are equal to `before`: as text, after it went through the columns' types as they did. */
async function changeOne(client: pg.ClientBase, table: TargetTable, before: Image, after: Image | null): Promise<void> {
  const values: (string | null)[] = [];
  const bind = (name: string, value: string | null): string => {
    values.push(value);
    return castText(columnOf(table, name), `$${values.length}`);
  };
  const set = [...(after ?? [])].map(([name, value]) => `${quoteIdentifier(name)} = ${bind(name, value)}`).join(', ');
  const same = [...before].map(([name, value]) => {
    const column = `o.${quoteIdentifier(name)}`;
    if (value === null) return `${column} IS NOT DISTINCT FROM NULL`;
    return `(${column} IS DISTINCT FROM NULL AND format('%s', ${column}) COLLATE "C" = format('%s', ${bind(name, value)}) COLLATE "C")`;
  });
  const row = `t.ctid = (SELECT o.ctid FROM ${table.only} AS o WHERE ${same.join(' AND ')} LIMIT 1)`;
  const action = after === null ? `DELETE FROM ${table.only} AS t` : `UPDATE ${table.only} AS t SET ${set}`;
  const done = await client.query(`${action} WHERE ${row}`, values);
  if (done.rowCount === 1) return;
  throw new RestageError('target_drift', 'the target does not hold the row that the source changed', {
    where: `${formatTable(table.structure)}, which has no key`,
    fix: 'somebody else wrote to the target, or its type keeps less than the event: give the table a key',
  });
}
