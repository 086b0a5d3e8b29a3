import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { JournalRecord } from './journal.ts';
import { foldJournal, type MigrationState } from './state.ts';

/** What guards, terms and marks of a target's migration are called at the source, which several targets may share. */
export function sourceKey(
  { name, targets }: Pick<Config, 'name' | 'targets'>,
  target: Pick<TargetConfig, 'name'>,
): string {
  return targets.length === 1 ? name : `${name}.${target.name}`;
}

/** All such names that a pipeline may have given; the first one is of the time when it had one target. */
export function sourceKeys({ name, targets }: Pick<Config, 'name' | 'targets'>): string[] {
  return [name, ...targets.map((target) => `${name}.${target.name}`)];
}

/** The targets that are switched with this one, in the plan's order. The first leads: its journal is that of all. */
export function togetherWith(
  { targets, together = [] }: Pick<Config, 'targets' | 'together'>,
  target: TargetConfig,
): TargetConfig[] {
  if (!together.includes(target.name)) return [target];
  return together.flatMap((name) => targets.find((one) => one.name === name) ?? []);
}

/**
 * A member's records among those of its leader: switches are the leader's, proofs are the member's own. Each member's clocks order them, which
 * only decides from where on changed rows are compared.
 */
export function storyOf(leader: readonly JournalRecord[], own: readonly JournalRecord[]): JournalRecord[] {
  const isProof = ({ entry }: JournalRecord): boolean => entry.kind === 'verified' || entry.kind === 'repaired';
  return [...leader.filter((record) => !isProof(record)), ...own.filter(isProof)].toSorted(
    (a, b) => Date.parse(a.at) - Date.parse(b.at),
  );
}

/**
 * Targets that were joined stay so: the journal of one tells nothing of a switch that another one's led.
 * @throws RestageError switch_refused.
 */
export function requireSameGroup(name: string, own: readonly JournalRecord[], wanted: readonly string[]): void {
  const state = foldJournal(own);
  const isAlone = wanted.length === 1;
  if (state.together === null) {
    if (isAlone || isAtRest(state)) return;
    throw new RestageError('switch_refused', `target ${name} was switched by itself, and cannot join others now`, {
      where: 'cutover.together',
      fix: 'restage rollback brings it back first; or leave it out of cutover.together, and give it its own commands',
    });
  }
  if (state.together.join() === wanted.join()) return;
  throw new RestageError(
    'switch_refused',
    `target ${name} was made ready to be switched together with others, in another plan`,
    {
      where: `cutover.together: [${state.together.join(', ')}]`,
      fix: 'give it as it was, with the same order',
    },
  );
}

function isAtRest({ live, open }: MigrationState): boolean {
  return live === 'source' && open === null;
}
