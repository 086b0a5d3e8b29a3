import { readJournal } from '#adapters/postgres/migration/migration-journal.ts';
import { nextRecord, type JournalEntry, type JournalRecord } from '#core/migration/journal.ts';
import { STEPS } from '#core/migration/steps.ts';
import type { OperatorJournal, SwitchHands } from '#core/migration/switch-run.ts';
import { connectTarget } from '../target-checkpoint.ts';
import type { Line } from './ends.ts';
import { whoAmI } from './operator.ts';

/** The journal as it is, and what a switch would add to it, in memory alone. */
export class DryJournal implements OperatorJournal {
  readonly #records: JournalRecord[];

  private constructor(records: readonly JournalRecord[]) {
    this.#records = [...records];
  }

  /** Without a line: of a migration that has none yet. */
  static async open(line: Line | undefined): Promise<DryJournal> {
    if (line === undefined) return new DryJournal([]);
    const { config, target } = line;
    const client = await connectTarget(config, target);
    try {
      return new DryJournal(await readJournal(client, config.name));
    } finally {
      await client.end();
    }
  }

  read(): Promise<readonly JournalRecord[]> {
    return Promise.resolve([...this.#records]);
  }

  append(entry: JournalEntry): Promise<JournalRecord> {
    const who = { at: new Date().toISOString(), by: whoAmI(), term: 0 };
    const record = nextRecord(this.#records.at(-1) ?? null, entry, who);
    this.#records.push(record);
    return Promise.resolve(record);
  }
}

/** Hands that only say. */
export const DRY_HANDS: SwitchHands = {
  run: (step) => Promise.resolve({ so: STEPS.find(({ name }) => name === step)?.does ?? step }),
  undo: (step) => Promise.resolve({ so: `${step} is undone` }),
};
