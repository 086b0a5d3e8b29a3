import type { Forecast } from '#core/forecast.ts';
import { isChecked, phaseOf, type CopyProgress, type MigrationPhase, type MigrationState } from './state.ts';
import { STEPS_AFTER } from './steps.ts';

/** What an operator asks at any moment; `restage status` answers all four. */
export interface MigrationAnswers {
  /** Where am I. */
  readonly phase: MigrationPhase;
  /** What next: a command, or what is waited for. */
  readonly next: string;
  /** How long: until `next`, or of what `next` does. */
  readonly howLong: string;
  /** Can I go back. */
  readonly back: string;
}

export interface KnownProgress {
  readonly copy: CopyProgress;
  /** A comparison is at work now. */
  readonly isVerifying: boolean;
  /** Null where the services were not asked. */
  readonly forecast: Forecast | null;
}

type Words = Omit<MigrationAnswers, 'phase'>;

const FROM_SOURCE = 'nothing to go back from: the source is live';

/** Whatever the journal and the copy say, in words for people. */
export function describeMigration(state: MigrationState, known: KnownProgress): MigrationAnswers {
  const phase = phaseOf(state, known.copy, known.isVerifying);
  return { phase, ...WORDS[phase](state, known) };
}

const WORDS: Readonly<Record<MigrationPhase, (state: MigrationState, known: KnownProgress) => Words>> = {
  NEW: (state) => ({
    next:
      state.checked === null || isChecked(state)
        ? 'restage check, then restage run'
        : `what blocks is to be mended (${state.checked.blocks.join(', ')}), then restage check`,
    howLong: 'not known before the copy has begun; restage check says how much there is',
    back: FROM_SOURCE,
  }),
  CHECKED: ({ checked }) => ({
    next: `restage run: nothing blocked at ${checked?.at ?? ''}`,
    howLong: 'not known before the copy has begun; restage check says how much there is',
    back: FROM_SOURCE,
  }),
  SCHEMA_READY: (_, { forecast }) => ({
    next: 'the load, by restage run; restage wait says when it is done',
    howLong: describeForecast(forecast),
    back: FROM_SOURCE,
  }),
  COPYING: (_, { forecast }) => ({
    next: 'the load goes on, while restage run is at work; restage wait says when it is done',
    howLong: describeForecast(forecast),
    back: FROM_SOURCE,
  }),
  STREAMING: (state, { forecast }) => ({
    next: state.verified?.verdict === 'equal' ? 'restage reverse, then restage cutover' : 'restage verify',
    howLong: describeForecast(forecast),
    back: FROM_SOURCE,
  }),
  VERIFYING: ({ verified }) => ({
    next: 'restage verify is at work; then restage cutover',
    howLong: verified === null ? 'not known: it is the first' : `the last one took ${verified.seconds.toFixed(0)} s`,
    back: FROM_SOURCE,
  }),
  READY: (state) => ({
    next: state.verified?.verdict === 'equal' ? 'restage cutover' : 'restage verify, then restage cutover',
    howLong: lastSwitch(state),
    back: FROM_SOURCE,
  }),
  SWITCHING: duringSwitch,
  SWITCHED: (state) => ({
    next: state.wayBack ? 'restage rollback, or restage complete' : 'restage complete',
    howLong: `as long as you like: ${state.wayBack ? 'the way back keeps the source current' : 'nothing waits'}; ${lastSwitch(state)}`,
    back: state.wayBack ? 'yes: restage rollback' : 'no: it was switched without a way back',
  }),
  REVERSING: duringSwitch,
  ROLLED_BACK: (state) => ({
    next: 'restage verify, then restage cutover again',
    howLong: lastSwitch(state),
    back: FROM_SOURCE,
  }),
  COMPLETED: () => ({
    next: 'nothing: the migration is over; restage teardown removes the pipeline',
    howLong: 'it is done',
    back: 'no: it was completed',
  }),
};

function duringSwitch({ open }: MigrationState): Words {
  if (open === null) return { next: '', howLong: '', back: '' };
  const command = open.to === 'target' ? 'restage cutover' : 'restage rollback';
  const left = STEPS_AFTER.filter(({ name }) => !open.done.includes(name)).map(({ name }) => name);
  return open.isCommitted
    ? {
        next: `${command} goes on: ${left.join(', ')}`,
        howLong: 'moments, once the command is given; nothing ends by itself any more',
        back: 'not before this switch has ended: it is past its point of no return',
      }
    : {
        next: `its operator, else ${command}, which undoes what was begun first`,
        howLong: `writes are refused for ${open.timeBoxMs} ms at most; begun at ${open.startedAt}`,
        back: 'yes: nothing is committed',
      };
}

function lastSwitch({ unavailableMs }: MigrationState): string {
  return unavailableMs === null
    ? 'writes are refused for the time-box of the switch at most; restage rehearse measures it'
    : `the last switch refused writes for ${unavailableMs} ms`;
}

/** Until the target has everything, if all goes on as it does. */
function describeForecast(forecast: Forecast | null): string {
  switch (forecast?.state) {
    case undefined:
    case 'unknown':
      return 'not known: the services are not at work, or began a moment ago';
    case 'paused':
      return 'for good: a service is paused; restage resume';
    case 'caught up':
      return 'nothing is behind';
    case 'falling behind':
      return 'never, if it goes on like this: more comes than goes';
    case 'loading':
    case 'catching up':
      return forecast.secondsLeft === null ? 'not known yet' : `about ${Math.ceil(forecast.secondsLeft)} s`;
  }
}
