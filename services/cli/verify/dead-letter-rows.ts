import type pg from 'pg';
import { DeadLetterStore, hasDeadLetters } from '#adapters/postgres/target/dead-letter-store.ts';
import type { TableReport } from '#core/verify/verify-report.ts';

/** Says of rows that differ which dead letter waits there: they differ all the same. */
export async function nameDeadLetters(
  target: pg.ClientBase,
  pipeline: string,
  tables: readonly TableReport[],
): Promise<TableReport[]> {
  if (!(await hasDeadLetters(target))) return [...tables];
  const store = new DeadLetterStore(target, pipeline);
  const named: TableReport[] = [];
  for (const table of tables) {
    const keys = table.different.map(({ key }) => key);
    const letters = keys.length === 0 ? new Map<number, string>() : await store.ofRows(table.targetTable, keys);
    const different = table.different.map((row, at) => {
      const deadLetter = letters.get(at);
      return deadLetter === undefined ? row : { ...row, deadLetter };
    });
    named.push({ ...table, different });
  }
  return named;
}
