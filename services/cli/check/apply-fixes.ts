import { runSingle } from '#adapters/postgres/single-statement.ts';
import { describeError } from '#core/errors.ts';
import type { CheckContext } from './check-context.ts';
import type { CheckedFinding } from './check-printer.ts';
import type { SafeFix } from './finding.ts';

export interface AppliedFix extends SafeFix {
  readonly id: string;
  /** Why it did not go; null: it is done. */
  readonly refused: string | null;
}

export interface WantedFix extends SafeFix {
  readonly id: string;
}

/** A lock that others hold is not waited for: nobody is to queue behind a fix. */
const LOCK_MS = 2_000;

export function fixesOf(findings: readonly CheckedFinding[]): WantedFix[] {
  return findings.flatMap(({ id, safeFix }) => (safeFix === undefined ? [] : [{ id, ...safeFix }]));
}

/** One after another; one that is refused leaves the others. */
export async function applyFixes(context: CheckContext, fixes: readonly WantedFix[]): Promise<AppliedFix[]> {
  const applied: AppliedFix[] = [];
  for (const fix of fixes) applied.push({ ...fix, refused: await tryFix(context, fix) });
  return applied;
}

async function tryFix({ source, targets }: CheckContext, { at, statements }: WantedFix): Promise<string | null> {
  const client = at === 'source' ? source : targets.find(({ config }) => `target ${config.name}` === at)?.client;
  if (client === undefined) return 'there is no such server';
  try {
    await client.query(`SET lock_timeout = '${LOCK_MS}ms'`);
    // ANALYZE of a large table takes longer than any question of a check.
    await client.query('SET statement_timeout = 0');
    for (const statement of statements) await runSingle(client, statement);
    return null;
  } catch (error) {
    return describeError(error);
  } finally {
    await client.query('RESET lock_timeout; RESET statement_timeout').catch(() => undefined);
  }
}

/** For people, on standard error. */
export function formatFixes(fixes: readonly (WantedFix & { readonly refused?: string | null })[]): string {
  return fixes
    .flatMap(({ id, at, statements, refused }) => [
      `${id}, at ${at}: ${refused === undefined ? 'would run' : refused === null ? 'done' : `refused: ${refused}`}`,
      ...statements.map((statement) => `    ${statement};`),
    ])
    .map((line) => `${line}\n`)
    .join('');
}
