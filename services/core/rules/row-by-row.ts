import type { OutputConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { Branch } from '#core/rules/branch.ts';
import { atPlace } from '#core/rules/rule-place.ts';
import type { TableRules } from '#core/rules/table-rules.ts';
import { formatTable } from '#core/table-name.ts';

export type LaneOutput = Pick<OutputConfig, 'rules' | 'ordering' | 'profile' | 'module' | 'quarantine' | 'validations'>;

const FIX = 'leave ordering: key away for this output, or give what needs it an output of its own';

/**
 * Why an output cannot be shaped partition by partition (`ordering: key`): what one row becomes depends on others, or its rows would be under
 * other keys than those that they are partitioned by. None where its ordering is another.
 */
export function findLaneProblems(output: LaneOutput, compile: () => readonly TableRules[]): RestageError[] {
  if (output.ordering !== 'key') return [];
  return [...findSettingProblems(output), ...findTableProblems(compile())];
}

/** What the file alone tells. */
function findSettingProblems({ rules, profile, module, quarantine, validations = [] }: LaneOutput): RestageError[] {
  const spanning = validations.filter(
    ({ check: { kind }, onFailure }) =>
      kind === 'unique' || kind === 'reference' || kind === 'sum' || onFailure === 'row' || onFailure === 'transaction',
  );
  const settings: readonly (readonly [isThere: boolean, what: string])[] = [
    [(profile ?? null) !== null, 'profile debezium: its readers know nothing of what lanes wait for'],
    [(module ?? null) !== null, 'a module: nobody knows which keys it gives'],
    [(quarantine ?? 'stop') !== 'stop', 'a quarantine other than stop'],
  ];
  return [
    ...settings.filter(([isThere]) => isThere).map(([, what]) => problem(what, undefined)),
    ...spanning.map(({ name, place }) => problem(`check ${name}, which spans rows or lets them wait`, place)),
    ...rules.flatMap(({ lookUps = [], state, outbox, place }) => [
      ...(lookUps.length > 0 || state === true ? [problem('rows that are looked up or remembered', place)] : []),
      ...(outbox == null ? [] : [problem('an outbox', place)]),
    ]),
  ];
}

function findTableProblems(compiled: readonly TableRules[]): RestageError[] {
  const taken = new Map<string, string>();
  return compiled.flatMap(({ source, branches }) => {
    const [only, ...others] = branches;
    if (only === undefined) return [];
    const { shaped, rule } = only;
    const other = taken.get(shaped.topic);
    taken.set(shaped.topic, formatTable(source));
    const name = formatTable(source);
    if (others.length > 0) return [problem(`${name}, which gives rows of several tables`, rule?.place)];
    if (other !== undefined) return [problem(`${formatTable(shaped)}, where ${other} and ${name} meet`, rule?.place)];
    if (!keepsKey(only, source.identity.columns))
      return [problem(`${name}, whose rows get another key than they have at the source`, rule?.place)];
    return [];
  });
}

/** One row for a row or none, under the same key. */
function keepsKey(branch: Branch, identity: readonly string[]): boolean {
  if (branch.isUnchanged) return true;
  if (branch.rule?.unnest != null) return false;
  const copies = identity.map((column) => branch.nameOf(column));
  const { columns } = branch.shaped.identity;
  return columns.length === copies.length && copies.every((name) => name !== null && columns.includes(name));
}

function problem(what: string, place: string | undefined): RestageError {
  return new RestageError('rule_invalid', `ordering: key cannot take ${what}`, {
    where: atPlace(place, 'transform.outputs'),
    fix: FIX,
  });
}
