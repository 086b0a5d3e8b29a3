import { readJournal } from '#adapters/postgres/migration/migration-journal.ts';
import type { TestDatabase } from './database.ts';

/** What a target's audit has of commands: `action argument=value …` each, in their order. Its chain of hashes is held. */
export async function readAudit({ client }: TestDatabase, pipeline: string): Promise<string[]> {
  const records = await readJournal(client, pipeline);
  return records.flatMap(({ entry }) =>
    entry.kind === 'acted'
      ? [[entry.action, ...Object.entries(entry.with).map(([name, value]) => `${name}=${value}`)].join(' ')]
      : [],
  );
}
