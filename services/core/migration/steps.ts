/**
 * The steps of a switch, in their order, from the live side X to the other side Y. P feeds Y from X; back feeds X from Y.
 * Up to `seal` everything is undone on any failure; between `seal` and `open` stands the journal's `committed`, the point of no return.
 */
export const STEP_NAMES = [
  'objects',
  'refresh',
  'analyze',
  'hold',
  'fence',
  'drain',
  'lastObjects',
  'verify',
  'sequences',
  'freeze',
  'mark',
  'seal',
  'finish',
  'open',
  'flip',
  'follow',
] as const;

export type StepName = (typeof STEP_NAMES)[number];

interface Step {
  readonly name: StepName;
  /** Before the point of no return. */
  readonly isBefore: boolean;
  /** Something outside the journal that an undo takes back. */
  readonly hasUndo: boolean;
  /** For people. */
  readonly does: string;
}

export const STEPS: readonly Step[] = [
  { name: 'objects', isBefore: true, hasUndo: false, does: 'large objects are copied while writes go on' },
  {
    name: 'refresh',
    isBefore: true,
    hasUndo: false,
    does: "the other side's materialized views are made anew, each after those that it is made of",
  },
  {
    name: 'analyze',
    isBefore: true,
    hasUndo: false,
    does: 'tables there whose statistics are missing or old get them',
  },
  { name: 'hold', isBefore: true, hasUndo: true, does: 'the hook tells writers to stop' },
  {
    name: 'fence',
    isBefore: true,
    hasUndo: true,
    does: 'the live side is closed for writes, with nobody inside, until the time-box ends',
  },
  {
    name: 'drain',
    isBefore: true,
    hasUndo: false,
    does: 'everything that was committed there arrives at the other side',
  },
  {
    name: 'lastObjects',
    isBefore: true,
    hasUndo: false,
    does: 'large objects that changed since are copied, and all of them compared',
  },
  { name: 'verify', isBefore: true, hasUndo: false, does: 'both sides are compared while neither changes' },
  { name: 'sequences', isBefore: true, hasUndo: false, does: 'sequences of the other side are moved ahead' },
  { name: 'freeze', isBefore: true, hasUndo: true, does: 'the sink of the other side may apply nothing more' },
  { name: 'mark', isBefore: true, hasUndo: false, does: 'the position from which the way back follows is noted' },
  { name: 'seal', isBefore: true, hasUndo: false, does: 'the fence no longer ends by itself' },
  { name: 'finish', isBefore: false, hasUndo: false, does: 'foreign keys and triggers that waited come back' },
  { name: 'open', isBefore: false, hasUndo: false, does: 'the other side is opened for writes' },
  { name: 'flip', isBefore: false, hasUndo: false, does: 'the hook sends writers to the other side' },
  { name: 'follow', isBefore: false, hasUndo: false, does: 'the way back begins to apply' },
];

export const STEPS_BEFORE: readonly Step[] = STEPS.filter(({ isBefore }) => isBefore);
export const STEPS_AFTER: readonly Step[] = STEPS.filter(({ isBefore }) => !isBefore);
