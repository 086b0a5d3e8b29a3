import type { Config, TargetConfig } from '#core/config.ts';
import { collectFindings } from '../check/check-command.ts';
import { withCheckContext } from '../check/check-context.ts';
import type { Objection } from './switch-guards.ts';

/** The guards of a switch ask for these by themselves, with what its flags allow. */
const ASKED_OTHERWISE: ReadonlySet<string> = new Set([
  'source.replication_connection',
  'source.prepared_transactions',
  'rollback.inverse',
]);

/** The checklist once more, of the targets that are switched: what blocks is said before anything is closed. */
export async function askChecklist(config: Config, targets: readonly TargetConfig[]): Promise<Objection[]> {
  const findings = await withCheckContext({ ...config, targets }, collectFindings);
  return findings
    .filter(({ severity, id }) => severity === 'block' && !ASKED_OTHERWISE.has(id))
    .map(({ id, what, evidence, fix }) => ({ what: `check ${id}: ${what} (${evidence})`, fix }));
}
