/** One entry of an archive's table of contents (pg_restore: `--list`). */
export interface ListEntry {
  readonly dumpId: number;
  /** Of the object in its source; '0' where the entry has none of its own (a comment, an attachment). */
  readonly catalogOid: string;
  readonly oid: string;
  /** `TABLE shop orders owner`: kinds may hold spaces and names too, so it is only compared by its beginning. */
  readonly label: string;
  readonly line: string;
  readonly dependsOn: readonly number[];
}

export interface ListChoice {
  readonly kept: readonly ListEntry[];
  /** Labels of what hangs on tables outside the chosen ones: foreign keys to them, views over them. */
  readonly leftOut: readonly string[];
}

const ENTRY = /^(\d+); (\d+) (\d+) (.*)$/;
const DEPENDS = /^;\tdepends on: ([\d ]+)$/;
const PG_CLASS = '1259';
const DATABASE_WIDE =
  /^(?:ENCODING|STDSTRINGS|SEARCHPATH|DATABASE|DATABASE PROPERTIES|USER MAPPING|SERVER|FOREIGN DATA WRAPPER|EVENT TRIGGER|SUBSCRIPTION|PUBLICATION(?: TABLE)?) /;
const RELATION = /^(?:TABLE|FOREIGN TABLE) /;
/** Guards of a migration stand before the source's tables alone. */
const NOT_OURS = /^(?:COMMENT - EXTENSION |FOREIGN TABLE |TRIGGER .* restage_guard_[a-z0-9_.-]+ )/;

/** Reads what `pg_restore --list --verbose` prints. */
export function parseList(text: string): ListEntry[] {
  const entries: ListEntry[] = [];
  for (const line of text.split('\n')) {
    const entry = ENTRY.exec(line);
    if (entry !== null) {
      const [, dumpId = '', catalogOid = '', oid = '', label = ''] = entry;
      entries.push({ dumpId: Number(dumpId), catalogOid, oid, label, line, dependsOn: [] });
      continue;
    }
    const depends = DEPENDS.exec(line)?.[1];
    const last = entries.at(-1);
    if (depends !== undefined && last !== undefined) {
      entries[entries.length - 1] = { ...last, dependsOn: [...new Set(depends.trim().split(' ').map(Number))] };
    }
  }
  return entries;
}

/**
 * The archive without the tables outside `tableOids` (the chosen ones and the partitioned tables above them) and without
 * what hangs on those. What chosen tables need stays: schemas, types, functions, sequences. Functions stay all, because
 * one called from another's body appears in no catalog. Of extensions nobody needs, the target's own list decides.
 */
export function chooseEntries(
  entries: readonly ListEntry[],
  tableOids: ReadonlySet<string>,
  available: ReadonlySet<string>,
): ListChoice {
  const out = new Set<number>();
  for (const entry of entries) {
    const isOtherTable = entry.catalogOid === PG_CLASS && RELATION.test(entry.label) && !tableOids.has(entry.oid);
    if (isOtherTable || DATABASE_WIDE.test(entry.label) || NOT_OURS.test(entry.label)) out.add(entry.dumpId);
  }
  const before = out.size;
  const dependants = dependantsOf(entries);
  spread(out, dependants);
  const hanging = [...out].slice(before);
  for (const entry of entries) {
    const extension = /^EXTENSION - (.*) $/.exec(entry.label)?.[1];
    if (extension === undefined || available.has(extension)) continue;
    const isNeeded = (dependants.get(entry.dumpId) ?? []).some((id) => !out.has(id));
    if (!isNeeded) out.add(entry.dumpId);
  }
  const labels = new Map(entries.map((entry) => [entry.dumpId, entry.label]));
  return {
    kept: entries.filter((entry) => !out.has(entry.dumpId)),
    leftOut: hanging.map((id) => labels.get(id) ?? String(id)),
  };
}

/** A list file for `pg_restore --use-list`. */
export function formatList(entries: readonly ListEntry[]): string {
  return entries.map((entry) => `${entry.line}\n`).join('');
}

function dependantsOf(entries: readonly ListEntry[]): Map<number, number[]> {
  const dependants = new Map<number, number[]>();
  for (const entry of entries) {
    for (const id of entry.dependsOn) {
      const list = dependants.get(id);
      if (list === undefined) dependants.set(id, [entry.dumpId]);
      else list.push(entry.dumpId);
    }
  }
  return dependants;
}

/** Grows the set, in order, by everything that depends on a member. */
function spread(out: Set<number>, dependants: ReadonlyMap<number, readonly number[]>): void {
  for (const id of out) for (const dependant of dependants.get(id) ?? []) out.add(dependant);
}
