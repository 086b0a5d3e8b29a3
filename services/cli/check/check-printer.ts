import type { AppliedFix, WantedFix } from './apply-fixes.ts';
import type { SafeFix, Severity } from './finding.ts';

/** What one check found, or that it could not run. */
export interface CheckedFinding {
  readonly id: string;
  readonly severity: Severity;
  readonly what: string;
  readonly evidence: string;
  readonly fix: string;
  /** What `--fix` runs. */
  readonly safeFix?: SafeFix;
}

const SIGNS: Readonly<Record<Severity, string>> = { block: 'BLOCK', warn: 'warn ', info: 'info ' };
const ORDER: readonly Severity[] = ['block', 'warn', 'info'];

/** For people: the blocking ones first, each with its evidence and fix. */
export function formatFindings(findings: readonly CheckedFinding[], checks: number): string {
  const sorted = ORDER.flatMap((severity) => findings.filter((finding) => finding.severity === severity));
  const blocks = findings.filter((finding) => finding.severity === 'block').length;
  const paragraphs = sorted.map((finding) =>
    [
      `${SIGNS[finding.severity]}  ${finding.id}: ${finding.what}`,
      `       seen: ${finding.evidence}`,
      `       fix:  ${finding.fix.replaceAll('\n', '\n             ')}${finding.safeFix === undefined ? '' : ' -- or: restage check --fix'}`,
    ].join('\n'),
  );
  const summary =
    blocks === 0
      ? `${checks} checks, nothing blocks`
      : `${checks} checks, ${blocks} ${blocks === 1 ? 'finding blocks' : 'findings block'}`;
  return `${[...paragraphs, summary].join('\n\n')}\n`;
}

/** For scripts: one document. `fixes`: what `--fix` ran, or would. */
export function formatFindingsJson(
  findings: readonly CheckedFinding[],
  checks: number,
  fixes: readonly (WantedFix | AppliedFix)[] = [],
): string {
  return `${JSON.stringify({ ok: findings.every((finding) => finding.severity !== 'block'), checks, findings, fixes })}\n`;
}
