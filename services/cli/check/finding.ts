import type { CheckContext } from './check-context.ts';

export type Severity = 'block' | 'warn' | 'info';

/** One thing that a check found: what, by what evidence, and the statement or command that mends it. */
export interface Finding {
  readonly what: string;
  /** What was seen: a setting's value, tables by name. Never a password or a row's value (invariant 8). */
  readonly evidence: string;
  /** To be run as it stands, or a sentence where no command can do it. */
  readonly fix: string;
  /** Where it differs from the check's own. */
  readonly severity?: Severity;
  /** The same fix, where it takes nothing away, holds nobody up and may be run again: what `--fix` runs. */
  readonly safeFix?: SafeFix;
}

export interface SafeFix {
  /** `source`, or `target NAME`. */
  readonly at: string;
  readonly statements: readonly string[];
}

/** As it stands in `fix`. */
export function statementsText(statements: readonly string[]): string {
  return statements.map((statement) => `${statement};`).join('\n');
}

/** A small check; it reads, and changes nothing that outlives it. */
export interface Check {
  readonly id: string;
  readonly severity: Severity;
  readonly run: (context: CheckContext) => Promise<Finding[]>;
}

/** `a, b and 3 more`. */
export function listSome(names: readonly string[], most = 8): string {
  return names.length <= most ? names.join(', ') : `${names.slice(0, most).join(', ')} and ${names.length - most} more`;
}
