import { formatTable } from '#core/table-name.ts';
import type { RowKey, TableReport, VerifyReport } from '#core/verify/verify-report.ts';
import { formatColumns } from '../table-text.ts';

const MOST_LINES = 50;

/** For people: a line per table, a line per row that differs, the verdict. */
export function describeReport(report: VerifyReport): string {
  if (report.reason !== undefined) return `${report.verdict}: ${report.reason}\n`;
  const tables = formatColumns(
    ['table', 'rows', 'chunks', 'different', 'unverified'],
    report.tables.map((table) => [
      formatTable(table.targetTable),
      table.rows,
      table.chunks,
      table.different.length,
      table.reason === undefined ? table.unverified.length : 'all',
    ]),
  );
  const lines = report.tables.flatMap(describeRows);
  const hidden = lines.length > MOST_LINES ? [`… and ${lines.length - MOST_LINES} more; --json lists them all`] : [];
  return [
    tables.trimEnd(),
    ...lines.slice(0, MOST_LINES),
    ...hidden,
    `${report.verdict}, after ${report.seconds.toFixed(1)} s`,
    '',
  ].join('\n');
}

function describeRows(table: TableReport): string[] {
  const name = formatTable(table.targetTable);
  return [
    ...table.different.map(
      ({ key, kind, columns, deadLetter }) =>
        `${name} ${formatKey(key)}: ${kind}${columns.length === 0 ? '' : ` in ${columns.join(', ')}`}${waiting(deadLetter)}`,
    ),
    ...table.unverified.map(
      ({ key, reason, deadLetter }) => `${name} ${formatKey(key)}: not verified: ${reason}${waiting(deadLetter)}`,
    ),
    ...(table.reason === undefined ? [] : [`${name}: not verified: ${table.reason}`]),
    ...(table.columnsLeft === undefined
      ? []
      : [`${name}: not compared, since made from when rows were committed: ${table.columnsLeft.join(', ')}`]),
    ...(table.chunksLeft === 0
      ? []
      : [`${name}: ${table.chunksLeft} more chunks differ, too many to compare row by row`]),
  ];
}

function waiting(deadLetter: string | undefined): string {
  return deadLetter === undefined ? '' : `; dead letter ${deadLetter} waits there`;
}

function formatKey(key: RowKey): string {
  return Object.entries(key)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}
