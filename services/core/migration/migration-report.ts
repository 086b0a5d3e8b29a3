import type { SchemaDiff } from '#core/schema-diff.ts';
import type { Evidence, JournalEntry, JournalRecord, Side } from './journal.ts';
import type { StepName } from './steps.ts';

/** A cutover or rollback that was begun, as the journal tells it. */
export interface SwitchReport {
  readonly to: Side;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly timeBoxMs: number;
  /** In the order they were done, with when each ended. */
  readonly steps: readonly SwitchStep[];
  /** How long neither side took writes; null where it was given up, or has not ended. */
  readonly unavailableMs: number | null;
  /** Why everything was undone; null where it was not. */
  readonly aborted: string | null;
}

export interface SwitchStep {
  readonly name: StepName;
  readonly endedAt: string;
  readonly ms: number;
  readonly evidence: Evidence;
}

/** Something that may still go wrong, or that nobody has proven. */
export interface Risk {
  readonly what: string;
  readonly fix: string;
}

export interface ReportFinding {
  readonly id: string;
  readonly severity: 'block' | 'warn' | 'info';
  readonly what: string;
  readonly evidence: string;
  readonly fix: string;
}

/** A table of the source and what it weighs there; `rows` is the planner's estimate. */
export interface ReportTable {
  readonly table: string;
  readonly rows: number;
  readonly bytes: number;
}

/** Events per second from one point of the source's time to the next. */
export interface RatePoint {
  readonly from: string;
  readonly until: string;
  readonly perSecond: number;
}

/** A part that could not be had, for its reason, does not keep the others from being told. */
export type Told<T> = T | { readonly missing: string };

/** One target: what is its own, also where others are switched with it. */
export interface TargetReport {
  readonly target: string;
  readonly plan: readonly (readonly [string, string])[];
  /** Of its server. */
  readonly version: string;
  readonly tables: readonly ReportTable[];
  /** Rows that the initial load brought. */
  readonly loadedRows: number;
  readonly structure: Told<SchemaDiff>;
  /** Every record of its own journal, whose chain of hashes was held when it was read. */
  readonly audit: readonly JournalRecord[];
}

export interface MigrationReport extends Omit<TargetReport, 'version'> {
  readonly pipeline: string;
  /** ISO 8601. */
  readonly madeAt: string;
  readonly phase: string;
  readonly live: Side;
  readonly next: string;
  readonly canGoBack: string;
  readonly versions: Readonly<Record<'restage' | 'node' | 'source' | 'target', string>>;
  /** Of all of its targets. */
  readonly checks: Told<readonly ReportFinding[]>;
  readonly rates: Told<readonly RatePoint[]>;
  /** Of all of its targets at once: the first one's journal has them. */
  readonly switches: readonly SwitchReport[];
  /** The other targets that are switched as one with it, in the plan's order; none where it is alone. */
  readonly joined: readonly JoinedReport[];
  readonly risks: readonly Risk[];
}

export type JoinedReport = TargetReport | { readonly target: string; readonly missing: string };

type Entry<K extends JournalEntry['kind']> = Extract<JournalEntry, { kind: K }>;

/** The records of one kind, with when they were written and by whom. */
export function entriesOf<K extends JournalEntry['kind']>(
  records: readonly JournalRecord[],
  kind: K,
): (Entry<K> & { readonly at: string; readonly by: string })[] {
  const isOfKind = (entry: JournalEntry): entry is Entry<K> => entry.kind === kind;
  return records.flatMap(({ entry, at, by }) => (isOfKind(entry) ? [{ ...entry, at, by }] : []));
}

/** Every attempt in its order. */
export function switchesOf(records: readonly JournalRecord[]): SwitchReport[] {
  const switches: (Omit<SwitchReport, 'steps'> & { steps: SwitchStep[] })[] = [];
  for (const { entry, at } of records) {
    const open = switches.at(-1);
    if (entry.kind === 'begun') {
      const { to, timeBoxMs } = entry;
      switches.push({ to, startedAt: at, timeBoxMs, steps: [], unavailableMs: null, aborted: null });
    } else if (open === undefined) continue;
    else if (entry.kind === 'done')
      open.steps.push({ name: entry.step, endedAt: at, ms: entry.ms, evidence: entry.evidence });
    else if (entry.kind === 'finished') switches[switches.length - 1] = { ...open, unavailableMs: entry.unavailableMs };
    else if (entry.kind === 'aborted') switches[switches.length - 1] = { ...open, aborted: entry.why };
  }
  return switches;
}

/** What is open, from everything else that the report has; a target's own with its name where there are several. */
export function risksOf(report: Omit<MigrationReport, 'risks'>): Risk[] {
  const { checks, switches, joined } = report;
  const risks: Risk[] = [];
  if ('missing' in checks) risks.push({ what: `the checklist was not asked: ${checks.missing}`, fix: 'restage check' });
  else
    for (const { severity, what, fix } of checks)
      if (severity !== 'info') risks.push({ what: `${severity}: ${what}`, fix });
  const of = (target: string, found: readonly Risk[]): Risk[] =>
    joined.length === 0 ? [...found] : found.map(({ what, fix }) => ({ what: `${target}: ${what}`, fix }));
  risks.push(...of(report.target, ownRisks(report)));
  for (const one of joined)
    risks.push(
      ...of(
        one.target,
        'missing' in one ? [{ what: `it could not be asked: ${one.missing}`, fix: 'restage status' }] : ownRisks(one),
      ),
    );
  const newest = switches.at(-1);
  if (newest?.aborted != null)
    risks.push({ what: `the last switch was undone: ${newest.aborted}`, fix: 'see its reason' });
  else if (newest !== undefined && newest.unavailableMs === null)
    risks.push({ what: `a switch to the ${newest.to} has not ended`, fix: 'restage status says what comes next' });
  return risks;
}

/** Of structure and rows. */
function ownRisks({ structure, audit }: Pick<TargetReport, 'structure' | 'audit'>): Risk[] {
  const risks: Risk[] = [];
  if ('missing' in structure)
    risks.push({ what: `the structures were not compared: ${structure.missing}`, fix: 'restage schema diff' });
  else if (structure.differences.length > 0)
    risks.push({
      what: `${structure.differences.length} differences of structure`,
      fix: 'restage schema diff names them',
    });
  const last = audit.findLast(({ entry }) => entry.kind === 'verified' || entry.kind === 'repaired');
  if (last === undefined) risks.push({ what: 'the rows were never verified', fix: 'restage verify' });
  else if (last.entry.kind === 'repaired')
    risks.push({ what: `rows were repaired at ${last.at}, and not verified since`, fix: 'restage verify' });
  else if (last.entry.kind === 'verified' && last.entry.verdict !== 'equal')
    risks.push({
      what: `the last verify, of ${last.at}, said: ${last.entry.verdict}`,
      fix: 'restage verify, restage repair',
    });
  return risks;
}
