import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import type { Evidence } from '#core/migration/journal.ts';
import type { OpenSwitch, Verification } from '#core/migration/state.ts';
import { findOutput } from '#core/output-ref.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import { isChosen } from '#core/table-patterns.ts';
import { takeExactSnapshots } from '../verify/exact-snapshots.ts';
import { settleExactly } from '../verify/settle-exactly.ts';
import { compileTables, planTables } from '../verify/shaped-table.ts';
import { lineProgress } from '../verify/verify-progress.ts';
import { verifyTables } from '../verify/verify-tables.ts';
import type { ChangedKeys } from './changed-keys.ts';
import type { Line } from './ends.ts';

export interface FenceTools {
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** A comparison of all rows is made where the last one took less than this part of the time-box, and than this: writers wait for it. */
const FULL_SHARE = 0.25;
const FULL_MOST_MS = 2_000;
const PATIENCE_MS = 5_000;
const SHOWN = 5;
/** Tables of more rows, by the source's statistics, are not counted: it would take what there is of the time-box. */
const MOST_COUNTED = 5_000_000;

/** Whether there is time for every row in the fence. */
export function comparesAll(last: Verification | null, timeBoxMs: number): boolean {
  return last !== null && last.seconds * 1_000 <= Math.min(timeBoxMs * FULL_SHARE, FULL_MOST_MS);
}

/**
 * Compares both sides while neither changes: every row where there is time for it, else the rows that changed since the last comparison
 * of all rows, and how many rows the tables have that rules do not change. @throws RestageError switch_refused with the tables that differ.
 */
export async function verifyInFence(
  line: Line,
  last: Verification | null,
  { timeBoxMs }: OpenSwitch,
  changed: ChangedKeys | null,
  tools: FenceTools,
): Promise<Evidence> {
  return comparesAll(last, timeBoxMs) ? verifyRows(line, tools) : verifyDelta(line, changed, tools);
}

async function verifyRows({ config, target }: Line, tools: FenceTools): Promise<Evidence> {
  const clock = Date.now;
  const report = await verifyTables(config, target, {
    ...tools,
    clock,
    patienceMs: PATIENCE_MS,
    progress: lineProgress(() => undefined, clock),
    takeExact: () => takeExactSnapshots(config, target, { ...tools, clock }),
  });
  const rows = report.tables.reduce((sum, table) => sum + table.rows, 0);
  if (report.verdict !== 'equal') {
    const named = report.tables
      .filter((table) => table.different.length + table.unverified.length > 0 || table.reason !== undefined)
      .map(
        (table) =>
          `${formatTable(table.targetTable)}: ${table.different.length} rows differ, ${table.unverified.length} are unverified`,
      );
    throw differs(report.reason === undefined ? named : [report.reason]);
  }
  return { compared: 'every row', rows };
}

/** Both sides in a snapshot each; what is in Kafka since the last comparison is all there, for the drain came before. */
async function verifyDelta(line: Line, changed: ChangedKeys | null, { signal }: FenceTools): Promise<Evidence> {
  const { config, target } = line;
  const application = `restage ${config.name} operator counts`;
  const settings = { row_security: 'off' };
  const source = await connectPg({ url: config.source.url, purpose: 'source', application, settings, until: signal });
  try {
    const other = await connectPg({ url: target.url, purpose: 'target', application, settings, until: signal });
    try {
      for (const client of [source, other]) await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      const sides = { source, target: other };
      // Writers wait: the catalog is read once.
      const structures = await readChosenTables(source, config);
      const counted = await countRows(line, structures, sides);
      const compared = changed === null ? null : await compareChanged(line, changed, structures, sides, signal);
      const wrong = [...counted.wrong, ...(compared?.wrong ?? [])];
      if (wrong.length > 0) throw differs(wrong);
      const numbers = { rows: counted.rows, tables: counted.tables };
      if (compared === null) return { compared: 'numbers of rows', ...numbers };
      return { compared: 'changed rows, and numbers of rows', changed: compared.rows, ...numbers, left: compared.left };
    } finally {
      await other.end();
    }
  } finally {
    await source.end();
  }
}

interface Sides {
  readonly source: pg.Client;
  readonly target: pg.Client;
}

/** Of tables that rules leave row for row. */
async function countRows(
  { config, target }: Line,
  structures: readonly TableStructure[],
  sides: Sides,
): Promise<{ readonly wrong: string[]; readonly rows: number; readonly tables: number }> {
  const { rules = [], tables: taken = [] } = findOutput(config.outputs, target.output) ?? {};
  const wrong: string[] = [];
  let total = 0;
  let tables = 0;
  for (const table of structures) {
    const own = rules.filter((rule) => rule.table.schema === table.schema && rule.table.table === table.table);
    if (
      !isChosen(table, taken) ||
      own.length > 1 ||
      own.some(({ where, unnest, outbox }) => where !== null || unnest != null || outbox != null)
    )
      continue;
    if ((await estimateOf(sides.source, table)) > MOST_COUNTED) continue;
    const there = own[0]?.rename ?? table;
    const [rows, theirs] = await Promise.all([countOf(sides.source, table), countOf(sides.target, there)]);
    tables += 1;
    total += Number(rows);
    if (rows !== theirs) wrong.push(`${formatTable(there)}: ${theirs} rows instead of ${rows}`);
  }
  return { wrong, rows: total, tables };
}

/** Null where more changed than can be looked at. `left`: tables whose changed rows no key tells. */
async function compareChanged(
  { config, target }: Line,
  changed: ChangedKeys,
  structures: readonly TableStructure[],
  sides: Sides,
  signal: AbortSignal,
): Promise<{ readonly wrong: string[]; readonly rows: number; readonly left: number } | null> {
  await changed.collect(signal);
  if (changed.isTooMany) return null;
  const compiled = compileTables(structures, findOutput(config.outputs, target.output));
  const plan = await planTables(config, sides, structures, compiled);
  const wrong: string[] = [];
  let rows = 0;
  let left = plan.shaped.length + plan.left.length;
  for (const pair of plan.pairs) {
    const name = tableKey(pair.targetTable);
    if (changed.isWhole(name)) left += 1;
    const keys = [...changed.keysOf(name).values()];
    rows += keys.length;
    const different = await settleExactly(pair, keys, sides);
    if (different.length > 0) wrong.push(`${formatTable(pair.targetTable)}: ${different.length} changed rows differ`);
  }
  return { wrong, rows, left };
}

async function estimateOf(client: pg.ClientBase, table: TableName): Promise<number> {
  const { rows } = await client.query<{ rows: number }>(
    'SELECT greatest(reltuples, 0)::float8 AS rows FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)',
    [quoteTable(table)],
  );
  return rows[0]?.rows ?? 0;
}

async function countOf(client: pg.ClientBase, table: TableName): Promise<string> {
  const { rows } = await client.query<{ n: string }>(`SELECT count(*)::text AS n FROM ${quoteTable(table)}`);
  return rows[0]?.n ?? '0';
}

function differs(named: readonly string[]): RestageError {
  return new RestageError('switch_refused', 'the two sides differ while neither changes', {
    where: named.slice(0, SHOWN).join('; '),
    fix: 'restage verify names the rows; restage snapshot loads tables again',
  });
}
