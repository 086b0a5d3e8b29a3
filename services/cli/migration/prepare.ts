import { installGuards } from '#adapters/postgres/migration/guard.ts';
import { readGate, setGate, underTerm } from '#adapters/postgres/migration/side-state.ts';
import type { MigrationState } from '#core/migration/state.ts';
import type { Migration } from './ends.ts';
import type { Operator } from './operator.ts';

/** What a switch needs beforehand, while both sides go on: guards before all tables, and a way back that waits. */
export async function prepareSwitch(
  { there, back, tables, keys }: Migration,
  operator: Operator,
  state: MigrationState,
  { wayBack, together }: { readonly wayBack: boolean; readonly together: readonly string[] },
  say: (line: string) => void,
): Promise<void> {
  const source = await operator.session('source');
  const target = await operator.session('target');
  const made =
    (await installGuards({ client: source, pipeline: keys.source, tables: tables.source }, operator.term)) +
    (await installGuards({ client: target, pipeline: keys.target, tables: tables.target }, operator.term));
  if (made > 0)
    say(
      `${there.target.name}: guards stand before ${made} more tables; the side that is not live takes no writes but Restage's`,
    );
  if (wayBack && (await readGate(source, back.config.name)) === undefined)
    await underTerm(source, keys.source, operator.term, () =>
      setGate(source, back.config.name, { isClosed: true, reason: 'waits for the switch: the source is live' }),
    );
  if (together.length > 1 && state.together === null)
    await operator.append({ kind: 'joined', together: [...together] });
  if (!state.isPrepared || state.wayBack !== wayBack) await operator.append({ kind: 'prepared', wayBack });
}
