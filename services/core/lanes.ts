import { crc32c } from '#core/crc32c.ts';
import type { Manifest } from '#core/manifest.ts';

/** How the ranges of a stream of epochs are shared out among lanes, each of which takes its own in order and knows nothing of the others. */
export interface LanePlan {
  readonly lanes: number;
  /** Topics whose partitions may be taken apart. Any other is one lane's, whole: its rows depend on each other, or nobody looked. */
  readonly split: ReadonlySet<string>;
}

/** The lane of a range, from 0 on. Topics of one partition are shared out too, by their names. */
export function laneOf({ lanes, split }: LanePlan, topic: string, partition: number): number {
  return (crc32c(Buffer.from(topic)) + (split.has(topic) ? partition : 0)) % lanes;
}

/**
 * Whether the lanes have to stand at one place before a manifest, and somebody takes it whole: what is not of the stream, an order across
 * rows (TRUNCATE, columns that change, a key that changes), and the parts of a transaction, since between them a target has no position.
 */
export function isJoint({ kind, part, last, control, joint }: JointFields): boolean {
  if (kind !== 'stream' && kind !== 'empty') return true;
  return joint === true || part !== 1 || !last || control.some((entry) => entry.kind !== 'barrier');
}

type JointFields = Pick<Manifest, 'kind' | 'part' | 'last' | 'control'> & { readonly joint?: boolean | undefined };
