import { RestageError } from '#core/errors.ts';
import { STEP_NAMES } from '#core/migration/steps.ts';
import type { ManifestKind } from '#core/manifest.ts';

/** What an epoch's manifest is, `part` for a part of a transaction that is not its last. */
export type WrittenKind = ManifestKind | 'part';
/** Of one Kafka transaction: nothing sent, data acknowledged, manifest acknowledged, EndTxn answered. */
const WRITE_MOMENTS = ['before', 'data', 'manifest', 'after'] as const;
export type WriteMoment = (typeof WRITE_MOMENTS)[number];
const SIDES = ['before', 'after'] as const;
type Side = (typeof SIDES)[number];

/** Steps of the producer and transformer that write a manifest, in the order of a pipeline's life. */
const PRODUCER_KINDS = [
  'intent',
  'origin',
  'plan',
  'chunk',
  'tableEnd',
  'end',
  'stream',
  'part',
  'empty',
  'announce',
] as const;
const TRANSFORMER_KINDS = ['plan', 'chunk', 'tableEnd', 'end', 'stream', 'part', 'empty', 'announce'] as const;
/**
 * Other steps that change what outlives a process; `slotDrop`: of a slot whose birth was cut short. From `takeAway` on they are met only
 * where session_replication_role is refused, `finish` and `enable` by `restage schema finish`; `relay` and `dlq` only where there are dead
 * letters; `replay` by `restage replay` alone; `spread…` and `lane` with `ordering: key`.
 */
const STEPS = [
  'producer.topics',
  'producer.tableTopics',
  'producer.open',
  'producer.publication',
  'producer.ddlTrigger',
  'producer.slotDrop',
  'producer.slot',
  'producer.keeper',
  'keeper.export',
  'producer.confirm',
  'producer.lateRequest',
  'producer.lateSlot',
  'producer.latePublication',
  'transformer.topics',
  'transformer.open',
  'transformer.outputTopics',
  'sink.topics',
  'sink.takeover',
  'sink.preData',
  'sink.state',
  'sink.begin',
  'sink.plan',
  'sink.chunk',
  'sink.tableEnd',
  'sink.index',
  'sink.key',
  'sink.analyze',
  'sink.startStream',
  'sink.part',
  'sink.epoch',
  'sink.relay',
  'dlq.retry',
  'dlq.drop',
  'sink.empty',
  'sink.foreignKey',
  'sink.validate',
  'sink.trigger',
  'sink.refresh',
  'sink.takeAway',
  'finish.take',
  'sink.enable',
  'finish.end',
  'sink.finishLoad',
  'sink.announce',
  'sink.shadow',
  'sink.newTable',
  'sink.lateLoaded',
  'sink.exchange',
  'sink.spreadOpen',
  'sink.spreadMeet',
  'sink.spreadClose',
  'sink.lane',
  'replay.begin',
  'replay.end',
] as const;

/** Met by `restage cutover` and `restage rollback` alone. */
const SWITCH_POINTS = [...STEP_NAMES, 'commit', 'undo'] as const;
type SwitchPoint = (typeof SWITCH_POINTS)[number];

export type FailpointName =
  | `producer.${WrittenKind}.${WriteMoment}`
  | `transformer.${WrittenKind}.${WriteMoment}`
  | `${(typeof STEPS)[number]}.${Side}`
  | `switch.${SwitchPoint}.${Side}`;

/** Every place at which a process may be made to end, and from which it must come back (invariant 7). */
export const FAILPOINTS: readonly FailpointName[] = [
  ...SWITCH_POINTS.flatMap((point) => SIDES.map((side) => `switch.${point}.${side}` as const)),
  ...STEPS.flatMap((step) => SIDES.map((side) => `${step}.${side}` as const)),
  ...PRODUCER_KINDS.flatMap((kind) => WRITE_MOMENTS.map((moment) => `producer.${kind}.${moment}` as const)),
  ...TRANSFORMER_KINDS.flatMap((kind) => WRITE_MOMENTS.map((moment) => `transformer.${kind}.${moment}` as const)),
];

/** Called where durable state is about to change, or has just changed. Does nothing unless a test arms it. */
export interface Failpoints {
  hit(name: FailpointName): void;
}

export const NO_FAILPOINTS: Failpoints = { hit: () => undefined };

/** `kill` and `stop`: the process sends itself SIGKILL or SIGSTOP. `say`: it only says that it came by. */
export type FailpointAction = 'kill' | 'stop' | 'say';

export interface ArmedFailpoint {
  readonly name: FailpointName;
  readonly action: FailpointAction;
  /** At which hit, counted from 1 in this process. */
  readonly hit: number;
}

/** Reads `name=action:hit,…`; `:hit` may be left out, `*` names all. @throws RestageError usage. */
export function parseFailpoints(text: string): ArmedFailpoint[] {
  return text
    .split(',')
    .filter((entry) => entry.trim() !== '')
    .flatMap((entry) => {
      const match = /^\s*([\w.*]+)=(kill|stop|say)(?::([1-9]\d*))?\s*$/.exec(entry);
      const names = FAILPOINTS.filter((name) => match?.[1] === '*' || match?.[1] === name);
      if (names.length === 0) throw invalid(entry);
      const action = match?.[2] as FailpointAction;
      return names.map((name) => ({ name, action, hit: Number(match?.[3] ?? 1) }));
    });
}

/** Counts hits and calls `act` when an armed one comes up. */
export function countFailpoints(
  armed: readonly ArmedFailpoint[],
  act: (failpoint: ArmedFailpoint) => void,
): Failpoints {
  if (armed.length === 0) return NO_FAILPOINTS;
  const hits = new Map<FailpointName, number>();
  return {
    hit(name) {
      const count = (hits.get(name) ?? 0) + 1;
      hits.set(name, count);
      for (const failpoint of armed) if (failpoint.name === name && failpoint.hit === count) act(failpoint);
    },
  };
}

function invalid(entry: string): RestageError {
  return new RestageError('usage', `RESTAGE_FAILPOINTS does not understand ${JSON.stringify(entry)}`, {
    fix: 'write name=kill, name=stop:3 or *=say; core/failpoints.ts lists the names',
  });
}
