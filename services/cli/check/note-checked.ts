import { hasJournal, noteInJournal } from '#adapters/postgres/migration/migration-journal.ts';
import type { JournalEntry } from '#core/migration/journal.ts';
import { whoAmI } from '../migration/operator.ts';
import type { CheckContext } from './check-context.ts';
import type { CheckedFinding } from './check-printer.ts';

type Checked = Extract<JournalEntry, { kind: 'checked' }>;

/** What the journal keeps of an answer: ids, no evidence. */
export function checkedEntry(gate: Checked['gate'], findings: readonly CheckedFinding[]): Checked {
  const idsOf = (severity: CheckedFinding['severity']): string[] => [
    ...new Set(findings.filter((one) => one.severity === severity).map(({ id }) => id)),
  ];
  return { kind: 'checked', gate, blocks: idsOf('block'), warns: idsOf('warn').length };
}

/**
 * In the journal of each target; one is begun where nothing blocks, for a target that is not ready yet is left as it is. What a role
 * may not write there changes nothing of the answer: the migration is as one that nobody checked.
 */
export async function noteChecked(
  { config, targets }: CheckContext,
  gate: Checked['gate'],
  findings: readonly CheckedFinding[],
): Promise<void> {
  const entry = checkedEntry(gate, findings);
  for (const { client } of targets) {
    try {
      if (entry.blocks.length > 0 && !(await hasJournal(client))) continue;
      await noteInJournal(client, config.name, entry, { at: new Date().toISOString(), by: whoAmI() });
    } catch {
      continue;
    }
  }
}
