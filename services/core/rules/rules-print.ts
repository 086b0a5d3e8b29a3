import { createHash } from 'node:crypto';
import type { OutputConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';

/** What an output is made by, told apart by part: `rules 5f0c21aa, checks …`. Equal prints make equal events of one history. */
export type RulesPrint = Readonly<Record<(typeof PARTS)[number], string>>;

const PARTS = ['tables', 'rules', 'checks', 'module', 'profile'] as const;
const HASH_CHARACTERS = 16;

/** `module`: what the output's module is compiled to; null where it has none. Secrets of masks are no part of it, only their ids. */
export function printRules(output: OutputConfig, module: string | null): RulesPrint {
  const { tables, rules, validations = [], profile = null } = output;
  return {
    tables: hash(tables),
    rules: hash(rules.map(({ maskColumns, ...rule }) => ({ ...rule, masks: maskColumns?.specs }))),
    // One that only counts changes no event.
    checks: hash(validations.filter(({ onFailure }) => onFailure !== 'count').map(({ name: _name, ...rest }) => rest)),
    module: hash(module),
    profile: hash(profile),
  };
}

/** As it stands beside an output's position. */
export function writePrint(print: RulesPrint): string {
  return PARTS.map((part) => print[part]).join(' ');
}

/** The parts that differ from a print as it was written; none where nobody wrote one. */
export function changedParts(print: RulesPrint, written: string | undefined): string[] {
  const before = written?.split(' ') ?? [];
  return written === undefined ? [] : PARTS.filter((part, index) => print[part] !== before[index]);
}

/** Where an output stands, as its last manifest says it. */
export interface OutputPlace {
  readonly ref: string;
  /** LSN. */
  readonly through: string;
  /** `<name>.shaped.<output>.v<N>.epochs` and the offset there. */
  readonly position: string;
}

/** What was written by other rules goes on by these only where somebody says so: its rows are not computed anew. */
export function rulesChanged(changed: readonly string[], { ref, through, position }: OutputPlace): RestageError {
  return new RestageError(
    'rules_changed',
    `output ${ref} was made by others than the file says now: ${changed.join(', ')}`,
    {
      where: `${position}, through ${through}`,
      fix: "raise the output's version, and all of history comes through the new rules; or start with --accept-rules, and they hold for what is written from here on, where they give earlier rows as they were; or put the old ones back",
    },
  );
}

/** Keys in order, maps as their entries, and nothing of what is absent, empty or false: a later version's new settings change no print. */
function hash(value: unknown): string {
  const text = JSON.stringify(plain(value)) ?? '';
  return text === '' ? '-' : createHash('sha256').update(text).digest('hex').slice(0, HASH_CHARACTERS);
}

function plain(value: unknown): unknown {
  if (value instanceof Map) return plain(Object.fromEntries(value as Map<string, unknown>));
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map((one: unknown) => plain(one) ?? null);
  if (value === null || value === undefined || value === false || value === '') return undefined;
  if (typeof value !== 'object') return value;
  const entries = Object.entries(value)
    // Where the file says it.
    .filter(([key]) => key !== 'place')
    .map(([key, inner]) => [key, plain(inner)] as const)
    .filter(([, inner]) => inner !== undefined)
    .toSorted(([left], [right]) => (left < right ? -1 : 1));
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}
