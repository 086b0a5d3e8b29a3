import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { inTransaction } from '#adapters/postgres/in-transaction.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { actAsReplica } from '#adapters/postgres/target/apply-session.ts';
import { putRows } from '#adapters/postgres/target/put-rows.ts';
import { readTargetTable, type TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { Image } from '#core/change.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { SourceChange } from '#core/debezium-source/row-change.ts';
import { RestageError } from '#core/errors.ts';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import { findOutput } from '#core/output-ref.ts';
import { shapeTables } from '#core/rules/shape-tables.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';
import type { LeftRows, RepairTable } from '#core/verify/repair-plan.ts';
import { takeExactSnapshots, type ExactOptions, type ExactSnapshots } from '../verify/exact-snapshots.ts';
import { compileTables, planTables, type VerifyPlan } from '../verify/shaped-table.ts';
import { readExpected, readFound, type RowTexts } from './expected-rows.ts';

export interface RepairedTable {
  readonly targetTable: TableName;
  readonly put: number;
  readonly removed: number;
  /** Changes that came in between had made them equal. */
  readonly equal: number;
}

export interface RepairResult {
  /** What the rows are as of. */
  readonly lsn: Lsn;
  readonly tables: readonly RepairedTable[];
  readonly left: readonly LeftRows[];
}

type Tools = Omit<ExactOptions, 'whileHeld'>;

const NO_PLACE = { topic: '', partition: 0, offset: 0n };

/**
 * Makes the rows what the source's snapshot at one LSN and the rules say, in one transaction of the target, which holds the position at
 * exactly that LSN: what the sink applies next is what follows (invariants 2 and 4). Nothing moves but the rows.
 * @throws RestageError repair_refused, with nothing changed.
 */
export async function repairRows(
  config: Config,
  target: TargetConfig,
  wanted: readonly RepairTable[],
  tools: Tools,
): Promise<RepairResult> {
  let result: RepairResult | null = null;
  const taken = await takeExactSnapshots(config, target, {
    ...tools,
    whileHeld: async (snapshots) => {
      result = await writeRows(config, target, wanted, snapshots, tools.signal);
    },
  });
  if (typeof taken === 'string')
    throw new RestageError('repair_refused', 'both sides could not be had at one LSN', {
      where: taken,
      fix: 'start the sink, and see that the source has a free slot; then run it again',
    });
  await taken[Symbol.asyncDispose]();
  if (result === null) throw new RestageError('bug', 'a repair that was never begun');
  return result;
}

async function writeRows(
  config: Config,
  target: TargetConfig,
  wanted: readonly RepairTable[],
  snapshots: ExactSnapshots,
  signal: AbortSignal,
): Promise<RepairResult> {
  const structures = await readChosenTables(snapshots.source, config);
  const output = findOutput(config.outputs, target.output);
  const plan = await planTables(config, snapshots, structures, compileTables(structures, output), true);
  const shaped = new Map(shapeTables(structures, output).map((structure) => [tableKey(structure), structure]));
  const application = `restage ${config.name} repair`;
  const writer = await connectPg({ url: target.url, purpose: 'target', application, until: signal });
  try {
    await requireReplica(writer);
    return await inTransaction(writer, async () => {
      await requirePosition(writer, config.name, snapshots.lsn);
      const result = { lsn: snapshots.lsn, tables: [] as RepairedTable[], left: [] as LeftRows[] };
      for (const one of wanted) {
        const structure = shaped.get(tableKey(one.targetTable));
        if (structure === undefined) continue;
        const repair = { one, table: await readTargetTable(writer, structure), plan, snapshots, signal };
        const done = await repairTable(writer, repair);
        if (typeof done === 'string')
          result.left.push({ targetTable: one.targetTable, rows: one.keys.length, why: done });
        else result.tables.push(done);
      }
      return result;
    });
  } finally {
    await writer.end();
  }
}

/** Triggers and foreign keys would act on what they did at the source already. */
async function requireReplica(writer: pg.ClientBase): Promise<void> {
  if (await actAsReplica(writer)) return;
  throw new RestageError('repair_refused', "the target's role may not set session_replication_role", {
    where: 'triggers and foreign keys of the target would act on what is repaired',
    fix: 'PostgreSQL 15 and newer: GRANT SET ON PARAMETER session_replication_role TO the role; or restage snapshot',
  });
}

/** Held until the end of the transaction: a sink that no longer waits for us waits for this row. */
async function requirePosition(writer: pg.ClientBase, pipeline: string, lsn: Lsn): Promise<void> {
  const { rows } = await writer.query<{ through: string }>(
    'SELECT through::text AS through FROM restage.checkpoint WHERE pipeline = $1 FOR UPDATE',
    [pipeline],
  );
  const at = rows[0]?.through ?? '0/0';
  if (parseLsn(at) === lsn) return;
  throw new RestageError('repair_refused', 'the sink went on before the rows could be written', {
    where: `it is at ${at}, and was to stand at ${formatLsn(lsn)}`,
    fix: 'run it again',
  });
}

interface Repair {
  readonly one: RepairTable;
  readonly table: TargetTable;
  readonly plan: VerifyPlan;
  readonly snapshots: ExactSnapshots;
  readonly signal: AbortSignal;
}

/** Or why not. */
async function repairTable(writer: pg.Client, repair: Repair): Promise<RepairedTable | string> {
  const { one, table, plan, snapshots, signal } = repair;
  const key = tableKey(one.targetTable);
  const planned =
    plan.pairs.find(({ targetTable }) => tableKey(targetTable) === key) ??
    plan.shaped.find(({ targetTable }) => tableKey(targetTable) === key);
  if (planned === undefined) return 'its rows are no function of the source';
  const keys = one.keys.map((row) => planned.keyNames.map((name) => row[name] ?? ''));
  const expected = await readExpected(planned, keys, { ...snapshots, signal });
  if (typeof expected === 'string') return expected;
  const found = await readFound(writer, planned, keys);
  const changes: SourceChange[] = [];
  for (const [index, row] of expected.entries()) {
    if (isSame(row, found[index] ?? null)) continue;
    const image = (names: readonly string[], texts: readonly (string | null)[]): Image =>
      new Map(names.map((name, at) => [name, texts[at] ?? null]));
    const own = image(planned.keyNames, keys[index] ?? []);
    if (row === null) changes.push({ ...NO_PLACE, kind: 'remove', key: own });
    else {
      const after = new Map([...image(planned.columnNames, row)].filter(([name]) => table.columns.has(name)));
      changes.push({ ...NO_PLACE, kind: 'put', key: own, after, isWhole: true });
    }
  }
  await putRows(writer, table, changes);
  const kept = await readFound(writer, planned, keys);
  requireKept(one.targetTable, expected, kept);
  const removed = changes.filter(({ kind }) => kind === 'remove').length;
  return {
    targetTable: one.targetTable,
    put: changes.length - removed,
    removed,
    equal: keys.length - changes.length,
  };
}

function isSame(expected: RowTexts | null, found: RowTexts | null): boolean {
  return JSON.stringify(expected) === JSON.stringify(found);
}

/** @throws RestageError repair_refused, which takes all of it back. */
function requireKept(
  table: TableName,
  expected: readonly (RowTexts | null)[],
  kept: readonly (RowTexts | null)[],
): void {
  const wrong = expected.filter((row, index) => !isSame(row, kept[index] ?? null)).length;
  if (wrong === 0) return;
  throw new RestageError('repair_refused', 'the target does not keep the rows that it is given', {
    where: `${formatTable(table)}, ${wrong} rows`,
    fix: 'a trigger of the target, or a type that keeps less, changes them; nothing was changed',
  });
}
