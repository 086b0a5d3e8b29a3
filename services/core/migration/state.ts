import type { JournalEntry, JournalRecord, Side } from './journal.ts';
import { STEPS, type StepName } from './steps.ts';

type Verified = Extract<JournalEntry, { kind: 'verified' }>;
type Checked = Extract<JournalEntry, { kind: 'checked' }>;
export type Verification = Verified & { readonly at: string };

/** A switch that began and has not ended. */
export interface OpenSwitch {
  readonly to: Side;
  readonly startedAt: string;
  readonly timeBoxMs: number;
  readonly wayBack: boolean;
  readonly isCommitted: boolean;
  /** Steps that were started and not undone: each may have taken effect. */
  readonly started: readonly StepName[];
  readonly done: readonly StepName[];
  /** An LSN of the other side where both were equal; null before that step, and without a way back. */
  readonly mark: string | null;
}

/** Where a migration is, as its journal tells it. */
export interface MigrationState {
  /** After a switch was committed its other side is; before, the one that was. */
  readonly live: Side;
  /** The newest answer of the checklist; null before the first. */
  readonly checked: (Checked & { readonly at: string }) | null;
  readonly isPrepared: boolean;
  /** The targets that are switched as one, this one among them, in their order; null where it is alone. */
  readonly together: readonly string[] | null;
  /** The way back follows, or would after the switch. */
  readonly wayBack: boolean;
  readonly open: OpenSwitch | null;
  /** The newest comparison of all rows. */
  readonly verified: Verification | null;
  /** An LSN of the live side up to which all rows are known to be equal; null where none is. */
  readonly equalUpTo: string | null;
  /** Of the newest switch that ended. */
  readonly unavailableMs: number | null;
  readonly isCompleted: boolean;
  /** A switch to the target was committed at some time. */
  readonly hasSwitched: boolean;
  /** Why the newest attempt was given up; null after a later one went well. */
  readonly aborted: string | null;
}

export const NEW_MIGRATION: MigrationState = {
  live: 'source',
  checked: null,
  isPrepared: false,
  together: null,
  wayBack: false,
  open: null,
  verified: null,
  equalUpTo: null,
  unavailableMs: null,
  isCompleted: false,
  hasSwitched: false,
  aborted: null,
};

/** `member`: whose evidence counts, where several targets are switched together. */
export function foldJournal(records: readonly JournalRecord[], member = ''): MigrationState {
  return records.reduce((state, record) => foldRecord(state, record, member), NEW_MIGRATION);
}

function foldRecord(state: MigrationState, { entry, at }: JournalRecord, member: string): MigrationState {
  switch (entry.kind) {
    case 'checked':
      return { ...state, checked: { ...entry, at } };
    case 'acted':
      return state;
    case 'prepared':
      return { ...state, isPrepared: true, wayBack: entry.wayBack };
    case 'joined':
      return { ...state, together: entry.together };
    case 'verified':
      return { ...state, verified: { ...entry, at }, equalUpTo: equalAfter(state, entry) };
    case 'repaired':
      // Whether it is equal now is for another comparison to say.
      return state;
    case 'begun': {
      const { to, timeBoxMs, wayBack } = entry;
      const open = { to, timeBoxMs, wayBack, startedAt: at, isCommitted: false, started: [], done: [], mark: null };
      return { ...state, wayBack, open };
    }
    case 'committed':
      return withOpen(
        {
          ...state,
          live: entry.to,
          hasSwitched: state.hasSwitched || entry.to === 'target',
          equalUpTo: state.open?.mark ?? null,
        },
        (open) => ({
          ...open,
          isCommitted: true,
        }),
      );
    case 'started':
      return withOpen(state, (open) => ({ ...open, started: add(open.started, entry.step) }));
    case 'done':
      return withOpen(state, (open) => ({
        ...open,
        done: add(open.done, entry.step),
        mark: entry.step === 'mark' ? textOf(entry.evidence[`${member}.from`] ?? entry.evidence['from']) : open.mark,
      }));
    case 'undone':
      return withOpen(state, (open) => ({
        ...open,
        started: open.started.filter((name) => name !== entry.step),
        done: open.done.filter((name) => name !== entry.step),
      }));
    case 'aborted':
      return { ...state, open: null, aborted: entry.why };
    case 'finished':
      return { ...state, open: null, unavailableMs: entry.unavailableMs, aborted: null };
    case 'completed':
      return { ...state, isCompleted: true };
  }
}

/** A comparison goes from the source: once the target is live it says nothing new. */
function equalAfter({ live, equalUpTo }: MigrationState, { verdict, since }: Verified): string | null {
  if (live !== 'source') return equalUpTo;
  return verdict === 'equal' ? (since ?? null) : null;
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function withOpen(state: MigrationState, change: (open: OpenSwitch) => OpenSwitch): MigrationState {
  return state.open === null ? state : { ...state, open: change(state.open) };
}

function add(names: readonly StepName[], name: StepName): readonly StepName[] {
  return names.includes(name) ? names : [...names, name];
}

/** How far the copy is, which the journal does not tell. */
export type CopyProgress = 'none' | 'structure' | 'copying' | 'streaming';

export const PHASES = [
  'NEW',
  'CHECKED',
  'SCHEMA_READY',
  'COPYING',
  'STREAMING',
  'VERIFYING',
  'READY',
  'SWITCHING',
  'SWITCHED',
  'REVERSING',
  'ROLLED_BACK',
  'COMPLETED',
] as const;

export type MigrationPhase = (typeof PHASES)[number];

/** `isVerifying`: a comparison is at work now. */
export function phaseOf(state: MigrationState, copy: CopyProgress, isVerifying = false): MigrationPhase {
  if (state.isCompleted) return 'COMPLETED';
  if (state.open !== null) return state.open.to === 'target' ? 'SWITCHING' : 'REVERSING';
  if (state.live === 'target') return 'SWITCHED';
  if (state.hasSwitched) return 'ROLLED_BACK';
  if (copy === 'streaming' && isVerifying) return 'VERIFYING';
  if (copy === 'streaming') return state.isPrepared ? 'READY' : 'STREAMING';
  if (copy === 'none') return isChecked(state) ? 'CHECKED' : 'NEW';
  return ({ structure: 'SCHEMA_READY', copying: 'COPYING' } as const)[copy];
}

/** The newest answer of the checklist is that nothing blocks. */
export function isChecked({ checked }: MigrationState): boolean {
  return checked !== null && checked.blocks.length === 0;
}

/** Steps whose effect may be there and is to be taken back, the newest first. */
export function stepsToUndo(open: OpenSwitch): readonly StepName[] {
  return STEPS.filter(({ name, isBefore, hasUndo }) => isBefore && hasUndo && open.started.includes(name))
    .map(({ name }) => name)
    .toReversed();
}
