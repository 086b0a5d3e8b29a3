import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import type { Evidence } from '#core/migration/journal.ts';
import type { OpenSwitch, Verification } from '#core/migration/state.ts';
import { findOutput } from '#core/output-ref.ts';
import { formatTable, quoteTable, type TableName } from '#core/table-name.ts';
import { isChosen } from '#core/table-patterns.ts';
import { takeExactSnapshots } from '../verify/exact-snapshots.ts';
import { lineProgress } from '../verify/verify-progress.ts';
import { verifyTables } from '../verify/verify-tables.ts';
import type { Line } from './ends.ts';

export interface FenceTools {
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** A comparison of all rows is made where the last one took less than this part of the time-box. */
const FULL_SHARE = 0.25;
const PATIENCE_MS = 5_000;
const SHOWN = 5;

/**
 * Compares both sides while neither changes: every row where there is time for it, else how many rows the tables have that rules do not
 * change. @throws RestageError switch_refused with the tables that differ.
 */
export async function verifyInFence(
  line: Line,
  last: Verification | null,
  { timeBoxMs }: OpenSwitch,
  tools: FenceTools,
): Promise<Evidence> {
  const isShort = last !== null && last.seconds * 1_000 <= timeBoxMs * FULL_SHARE;
  return isShort ? verifyRows(line, tools) : countRows(line, tools);
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

async function countRows({ config, target }: Line, { signal }: FenceTools): Promise<Evidence> {
  const application = `restage ${config.name} operator counts`;
  const source = await connectPg({ url: config.source.url, purpose: 'source', application, until: signal });
  try {
    const other = await connectPg({ url: target.url, purpose: 'target', application, until: signal });
    try {
      const { rules = [], tables: taken = [] } = findOutput(config.outputs, target.output) ?? {};
      const wrong: string[] = [];
      let total = 0;
      let tables = 0;
      for (const table of await readChosenTables(source, config)) {
        const own = rules.filter((rule) => rule.table.schema === table.schema && rule.table.table === table.table);
        if (
          !isChosen(table, taken) ||
          own.length > 1 ||
          own.some(({ where, unnest, outbox }) => where !== null || unnest != null || outbox != null)
        )
          continue;
        const there = own[0]?.rename ?? table;
        const [rows, theirs] = await Promise.all([countOf(source, table), countOf(other, there)]);
        tables += 1;
        total += Number(rows);
        if (rows !== theirs) wrong.push(`${formatTable(there)}: ${theirs} rows instead of ${rows}`);
      }
      if (wrong.length > 0) throw differs(wrong);
      return { compared: 'numbers of rows', rows: total, tables };
    } finally {
      await other.end();
    }
  } finally {
    await source.end();
  }
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
