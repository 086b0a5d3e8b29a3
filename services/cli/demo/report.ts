import type { DemoSwitch } from './demo-switch.ts';
import type { Proof } from './proof.ts';
import type { Milestone } from './timeline.ts';

/** What the demo did, and what its proof found. */
export interface DemoResult {
  readonly rows: number;
  readonly loadSeconds: number;
  readonly transactions: number;
  readonly changes: number;
  readonly drainSeconds: number;
  /** In their order; none with a sabotage. */
  readonly switches: readonly DemoSwitch[];
  /** The same as the writers saw them: from the last commit on one side to the first on the other. */
  readonly gapsMs: readonly number[];
  /** Acknowledged commits that a side does not have at the end. */
  readonly lost: { readonly source: number; readonly target: number };
  readonly timeline: readonly Milestone[];
  readonly proof: Proof;
  /** The sides are equal, and nothing that was acknowledged is lost. */
  readonly isProven: boolean;
}

const number = (value: number): string => value.toLocaleString('en').padStart(12);

/** The demo's tables and its verdict. */
export function formatTableText(result: DemoResult): string {
  const { proof, lost } = result;
  const lines = proof.tables.map(
    ({ table, sourceRows, targetRows, isEqual }) =>
      `  ${table.padEnd(14)}${number(sourceRows)}${number(targetRows)}   ${isEqual ? 'equal' : 'DIFFERENT'}`,
  );
  const rate = Math.round(result.rows / result.loadSeconds).toLocaleString('en');
  const commits = result.transactions.toLocaleString('en');
  return [
    '',
    ...formatTimeline(result.timeline),
    '',
    `  ${'table'.padEnd(14)}${'source rows'.padStart(12)}${'target rows'.padStart(12)}   rows and values`,
    ...lines,
    '',
    `  load      ${result.rows.toLocaleString('en')} rows in ${result.loadSeconds.toFixed(1)} s (${rate} rows/s, indexes and keys included)`,
    `  stream    ${commits} transactions, ${result.changes.toLocaleString('en')} changes, while all this went on`,
    ...result.switches.map((one, at) => formatSwitch(one, result.gapsMs[at])),
    `  lag       ${result.drainSeconds.toFixed(1)} s from the last commit to "everything applied"`,
    `  lost      ${lost.source} of ${commits} acknowledged commits at the source, ${lost.target} at the target`,
    `  structure ${proof.structureDifferences.length === 0 ? 'every constraint and index is there; sequences are ahead' : proof.structureDifferences.join('; ')}`,
    '',
    `  verdict   ${result.isProven ? 'source and target are EQUAL' : 'source and target DIFFER'}`,
    '',
    '',
  ].join('\n');
}

function formatTimeline(timeline: readonly Milestone[]): string[] {
  return [
    `  ${'at'.padStart(9)}${'took'.padStart(10)}   what`,
    ...timeline.map(
      ({ at, seconds, what }) =>
        `  ${`${at.toFixed(1)} s`.padStart(9)}${`${seconds.toFixed(1)} s`.padStart(10)}   ${what}`,
    ),
  ];
}

function formatSwitch({ live, unavailableMs, steps }: DemoSwitch, gapMs: number | undefined): string {
  const name = (live === 'target' ? 'cutover' : 'rollback').padEnd(10);
  const seen =
    gapMs === undefined ? '' : ` (${gapMs.toLocaleString('en')} ms from commit to commit, as writers saw it)`;
  const each = steps.map((step) => `${step.name} ${step.ms}`).join(' · ');
  return `  ${name}writes refused for ${unavailableMs.toLocaleString('en')} ms${seen}\n            in ms: ${each}`;
}
