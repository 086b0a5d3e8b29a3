import type { StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';
import { formatLsn } from '#core/lsn.ts';
import { formatTable } from '#core/table-name.ts';
import type { RetryOutcome } from '../../sink/dead-letter-retry.ts';
import { formatColumns } from '../table-text.ts';

export interface TargetLetters {
  readonly target: string;
  readonly letters: readonly StoredDeadLetter[];
}

export interface TargetOutcomes {
  readonly target: string;
  readonly outcomes: readonly RetryOutcome[];
}

interface TargetDrop {
  readonly target: string;
  readonly dropped: readonly string[];
  readonly freed: readonly string[];
}

/** A line each, then how many of which table. */
export function formatList(lists: readonly TargetLetters[]): string {
  const all = lists.flatMap(({ target, letters }) => letters.map((letter) => ({ target, letter })));
  if (all.length === 0) return 'no dead letters\n';
  const lines = formatColumns(
    ['id', 'target', 'table', 'key', 'event', 'LSN', 'state', 'behind', 'cause'],
    all.map(({ target, letter }) => [
      letter.id,
      target,
      formatTable(letter.table),
      formatKey(letter.rowKey),
      letter.kind,
      letter.position === null ? '' : formatLsn(letter.position.commit),
      letter.state,
      letter.behind ?? '',
      letter.behind === null ? firstLine(letter.error) : '',
    ]),
  );
  const counts = new Map<string, number>();
  for (const { target, letter } of all) {
    const name = `${target}: ${formatTable(letter.table)}, ${letter.state}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return `${lines}\n${[...counts].map(([name, count]) => `${name}: ${count}\n`).join('')}`;
}

export function listJson(lists: readonly TargetLetters[]): object {
  return { deadLetters: lists.flatMap(({ target, letters }) => letters.map((letter) => factsOf(target, letter))) };
}

/** Keys are shown as in every message; other values only where they were asked for (invariant 8). */
export function letterJson(target: string, letter: StoredDeadLetter, withValues: boolean): object {
  const headers = Object.fromEntries([...letter.headers].map(([name, value]) => [name, value.toString('hex')]));
  const bytes = { keyBytes: letter.key?.length ?? null, valueBytes: letter.value?.length ?? null };
  const values = {
    key: letter.key?.toString('utf8') ?? null,
    value: letter.value?.toString('utf8') ?? null,
  };
  return { ...factsOf(target, letter), headers, ...bytes, ...(withValues ? values : {}) };
}

export function formatLetters(shown: readonly TargetLetters[], withValues: boolean): string {
  return shown
    .flatMap(({ target, letters }) => letters.map((letter) => letterJson(target, letter, withValues)))
    .map((facts) =>
      Object.entries(facts)
        .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}\n`)
        .join(''),
    )
    .join('\n');
}

export function describeRetry(targets: readonly TargetOutcomes[], isDryRun: boolean): string {
  const rows = targets.flatMap(({ target, outcomes }) =>
    outcomes.map((one) => [
      one.id,
      target,
      one.state === 'retried' && isDryRun ? 'would be applied' : one.state,
      firstLine(one.error),
    ]),
  );
  return rows.length === 0 ? 'no dead letters wait\n' : formatColumns(['id', 'target', 'state', 'why'], rows);
}

export function describeDrop(targets: readonly TargetDrop[], isDryRun: boolean): string {
  return targets
    .map(
      ({ target, dropped, freed }) =>
        `${target}: ${isDryRun ? 'would drop' : 'dropped'} ${dropped.length}${freed.length === 0 ? '' : `; ${freed.length} that waited behind may be retried`}\n`,
    )
    .join('');
}

/** Before anything is dropped: which rows of the target stay as they are. */
export function sayWhatStays(
  target: string,
  letters: readonly StoredDeadLetter[],
  after: readonly string[],
  behind: 'free' | 'drop',
): string {
  const rows = letters.map(
    (letter) => `  ${formatTable(letter.table)} ${formatKey(letter.rowKey)}: its ${letter.kind} never comes\n`,
  );
  const rest =
    after.length === 0
      ? ''
      : `  ${after.length} that wait behind ${behind === 'drop' ? 'are dropped too' : 'may be retried by themselves'}\n`;
  return `target ${target} stays different from the source, and restage verify goes on saying so:\n${rows.join('')}${rest}`;
}

function factsOf(target: string, letter: StoredDeadLetter): object {
  return {
    id: letter.id,
    target,
    service: letter.service,
    state: letter.state,
    table: letter.table,
    rowKey: letter.rowKey,
    event: letter.kind,
    topic: letter.topic,
    partition: letter.partition,
    offset: String(letter.offset),
    commit: letter.position === null ? null : formatLsn(letter.position.commit),
    ordinal: letter.position?.ordinal ?? null,
    xid: letter.xid === null ? null : String(letter.xid),
    stage: letter.stage,
    code: letter.code,
    error: letter.error,
    behind: letter.behind,
    madeAt: letter.madeAt.toISOString(),
  };
}

function formatKey(key: StoredDeadLetter['rowKey']): string {
  return key === null
    ? ''
    : Object.entries(key)
        .map(([name, value]) => `${name}=${value ?? 'NULL'}`)
        .join(' ');
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}
