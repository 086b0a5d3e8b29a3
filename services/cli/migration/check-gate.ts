import { readJournal } from '#adapters/postgres/migration/migration-journal.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { JournalEntry } from '#core/migration/journal.ts';
import { foldJournal } from '#core/migration/state.ts';
import { collectFindings } from '../check/check-command.ts';
import { withCheckContext, type CheckContext } from '../check/check-context.ts';
import type { CheckedFinding } from '../check/check-printer.ts';
import { checkedEntry, noteChecked } from '../check/note-checked.ts';
import { connectTarget, readCheckpoint } from '../target-checkpoint.ts';
import type { Objection } from './switch-guards.ts';

/** What stands in a slot's way for a moment, and what a way back needs: a copy waits for the one and does without the other. */
const ASKED_OTHERWISE: ReadonlySet<string> = new Set([
  'source.replication_connection',
  'source.prepared_transactions',
  'rollback.inverse',
]);

async function collectHere(context: CheckContext): Promise<CheckedFinding[]> {
  return (await collectFindings(context)).filter(({ id }) => !ASKED_OTHERWISE.has(id));
}

export interface GateAnswer {
  readonly objections: readonly Objection[];
  readonly entry: JournalEntry;
}

/** The checklist once more, of the targets that are switched: what blocks is said before anything is closed. The guards of a switch ask for some by themselves. */
export async function askChecklist(config: Config, targets: readonly TargetConfig[]): Promise<GateAnswer> {
  const findings = await withCheckContext({ ...config, targets }, collectHere);
  return {
    objections: findings
      .filter(({ severity }) => severity === 'block')
      .map(({ id, what, evidence, fix }) => ({ what: `check ${id}: ${what} (${evidence})`, fix })),
    entry: checkedEntry('cutover', findings),
  };
}

/**
 * Before the copy begins: a migration that was checked is asked again, and one that was not is told so. Once a target's sink has begun,
 * its own preflight asks what still matters.
 * @throws RestageError not_ready with everything that blocks.
 */
export async function gateCopy(config: Config, say: (line: string) => void): Promise<void> {
  const checked: TargetConfig[] = [];
  for (const target of config.targets) {
    const client = await connectTarget(config, target);
    try {
      if ((await readCheckpoint(client, config.name)) !== null) continue;
      const state = foldJournal(await readJournal(client, config.name));
      if (state.checked !== null) checked.push(target);
      else say(`${target.name}: nobody checked this migration; restage check says what is not ready, with the fix`);
    } finally {
      await client.end();
    }
  }
  if (checked.length === 0) return;
  const blocks = await withCheckContext({ ...config, targets: checked }, async (context) => {
    const findings = await collectHere(context);
    await noteChecked(context, 'copy', findings);
    return findings.filter(({ severity }) => severity === 'block');
  });
  if (blocks.length === 0) return;
  throw new RestageError('not_ready', `the checklist, asked once more before the copy, finds what blocks`, {
    where: blocks.map(({ id, what, evidence }) => `${id}: ${what} (${evidence})`).join('\n         '),
    fix: `${blocks.map(({ fix }) => fix).join('\n         ')}\n         or begin without asking: --unchecked`,
  });
}
