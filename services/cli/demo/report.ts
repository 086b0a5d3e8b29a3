import type { Proof } from './proof.ts';

/** What the demo did, and what its proof found. */
export interface DemoResult {
  readonly rows: number;
  readonly loadSeconds: number;
  readonly transactions: number;
  readonly changes: number;
  readonly drainSeconds: number;
  readonly proof: Proof;
}

const number = (value: number): string => value.toLocaleString('en').padStart(12);

/** The demo's short table and its verdict. */
export function formatTableText(result: DemoResult): string {
  const { proof } = result;
  const lines = proof.tables.map(
    ({ table, sourceRows, targetRows, isEqual }) =>
      `  ${table.padEnd(14)}${number(sourceRows)}${number(targetRows)}   ${isEqual ? 'equal' : 'DIFFERENT'}`,
  );
  const rate = Math.round(result.rows / result.loadSeconds).toLocaleString('en');
  return [
    '',
    `  ${'table'.padEnd(14)}${'source rows'.padStart(12)}${'target rows'.padStart(12)}   rows and values`,
    ...lines,
    '',
    `  load      ${result.rows.toLocaleString('en')} rows in ${result.loadSeconds.toFixed(1)} s (${rate} rows/s, indexes and keys included)`,
    `  stream    ${result.transactions.toLocaleString('en')} transactions, ${result.changes.toLocaleString('en')} changes, while all this went on`,
    `  lag       ${result.drainSeconds.toFixed(1)} s from the last commit to "everything applied"`,
    `  structure ${proof.structureDifferences.length === 0 ? 'every constraint and index is there; sequences are ahead' : proof.structureDifferences.join('; ')}`,
    '',
    `  verdict   ${proof.isEqual ? 'source and target are EQUAL' : 'source and target DIFFER'}`,
    '',
    '',
  ].join('\n');
}
