import type { Config, TargetConfig } from '#core/config.ts';
import type { Logger } from '#core/log.ts';
import type { JournalEntry, JournalRecord } from '#core/migration/journal.ts';
import { foldJournal, type MigrationState } from '#core/migration/state.ts';
import type { OperatorJournal } from '#core/migration/switch-run.ts';
import { requireSameGroup, storyOf, togetherWith } from '#core/migration/together.ts';
import { takeWaitingNotes } from './audit.ts';
import type { ChangedKeys } from './changed-keys.ts';
import type { Migration } from './ends.ts';
import { copyJournal } from './journal-copy.ts';
import { openMigration } from './open-migration.ts';
import { Operator } from './operator.ts';

/** One of the targets that are switched together, or the only one. */
export interface Member {
  readonly name: string;
  readonly migration: Migration;
  readonly operator: Operator;
  /** What its own journal says. */
  own: MigrationState;
  /** Where it stands: switches as the leader's journal has them, proofs of its own. */
  known: MigrationState;
  /** Rows that changed since its last proof; null where nobody collected them. */
  changed: ChangedKeys | null;
}

/** The migrations of the targets that are switched with this one, the leader's first. */
export async function openMigrations(config: Config, target: TargetConfig): Promise<Migration[]> {
  const migrations: Migration[] = [];
  for (const one of togetherWith(config, target)) migrations.push(await openMigration(config, one));
  return migrations;
}

/**
 * The operator of several targets at once: one for each, with a lock and a term of its own, taken in the plan's order. The leader's journal is
 * that of all, so whoever has the leader's newest term alone may commit; and as it is taken first, nobody commits behind a later operator.
 */
export class OperatorGroup implements OperatorJournal {
  readonly members: readonly Member[];

  private constructor(members: readonly Member[]) {
    this.members = members;
  }

  /** @throws RestageError operator_busy, switch_refused where the plan is another than it was, and what connecting throws. */
  static async open(migrations: readonly Migration[], logger: Logger, signal: AbortSignal): Promise<OperatorGroup> {
    const names = migrations.map(({ there }) => there.target.name);
    const members: Member[] = [];
    try {
      for (const migration of migrations) {
        const { config, target } = migration.there;
        const operator = await Operator.open(config, target, logger, signal);
        members.push({
          name: target.name,
          migration,
          operator,
          own: foldJournal([]),
          known: foldJournal([]),
          changed: null,
        });
        await takeWaitingNotes(config, target, logger);
        const records = await operator.read();
        requireSameGroup(target.name, records, names);
        await copyJournal(migration.there, records, logger);
      }
      const group = new OperatorGroup(members);
      await group.refresh();
      return group;
    } catch (error) {
      await closeAll(members);
      throw error;
    }
  }

  get #leader(): Operator {
    const [leader] = this.members;
    if (leader === undefined) throw new Error('a group has a leader');
    return leader.operator;
  }

  /** Aborted when the lock of any is lost. */
  get lost(): AbortSignal {
    return AbortSignal.any(this.members.map(({ operator }) => operator.lost));
  }

  read(): Promise<readonly JournalRecord[]> {
    return this.#leader.read();
  }

  append(entry: JournalEntry): Promise<JournalRecord> {
    return this.#leader.append(entry);
  }

  /** Reads again where each member stands. */
  async refresh(): Promise<void> {
    const leading = await this.read();
    for (const member of this.members) {
      const own = await member.operator.read();
      member.own = foldJournal(own, member.name);
      member.known = foldJournal(member.operator === this.#leader ? own : storyOf(leading, own), member.name);
    }
  }

  async close(): Promise<void> {
    await closeAll(this.members);
  }
}

async function closeAll(members: readonly Member[]): Promise<void> {
  for (const { changed, operator } of members.toReversed()) {
    await changed?.[Symbol.asyncDispose]();
    await operator.close();
  }
}
