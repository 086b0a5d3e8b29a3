import { createHash } from 'node:crypto';
import type { Lsn } from '#core/lsn.ts';
import type { TableName } from '#core/table-name.ts';
import type { Position } from '#core/position.ts';

/** Where an event could not go on: read from its topic, shaped by a rule, applied to a target. */
export type DeadLetterStage = 'read' | 'shape' | 'apply';
/** `waiting` may be retried; the other two are the end of it. */
export type DeadLetterState = 'waiting' | 'retried' | 'dropped';
export type DeadLetterKind = 'insert' | 'update' | 'delete' | 'truncate' | 'unknown';

/** An event that did not reach its target, with its reason (invariant 3): bytes as they stand on the topic. */
export interface DeadLetter {
  /** The same for the same event and service, however often it is found: 16 hexadecimal digits. */
  readonly id: string;
  /** `sink <target>` or `transformer <output>`. */
  readonly service: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** null where the record's headers do not say. */
  readonly position: Position | null;
  readonly xid: bigint | null;
  readonly table: TableName;
  readonly kind: DeadLetterKind;
  /** The row's identity, text by column; null for none. */
  readonly rowKey: Readonly<Record<string, string | null>> | null;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: ReadonlyMap<string, Buffer>;
  readonly stage: DeadLetterStage;
  readonly code: string;
  readonly error: string;
  /** The dead letter that it waits behind; null where it is the cause itself. */
  readonly behind: string | null;
}

/** Of a life of a pipeline (incarnation), a service, and the event's place. */
export function deadLetterId(incarnation: string, service: string, topic: string, place: Position | bigint): string {
  const at = typeof place === 'bigint' ? `offset ${place}` : `${place.commit}:${place.ordinal}`;
  return createHash('sha256')
    .update(JSON.stringify([incarnation, service, topic, at]))
    .digest('hex')
    .slice(0, 16);
}

/** The headers of its record on `<name>.dlq`: those it had, then ours as text. A reader drops repeats by `dlq.id`. */
export function deadLetterHeaders(letter: DeadLetter): (readonly [string, Buffer])[] {
  const own: readonly (readonly [string, string])[] = [
    ['dlq.id', letter.id],
    ['dlq.service', letter.service],
    ['dlq.topic', letter.topic],
    ['dlq.partition', String(letter.partition)],
    ['dlq.offset', String(letter.offset)],
    ['dlq.stage', letter.stage],
    ['dlq.code', letter.code],
    ['dlq.error', letter.error],
    ['dlq.behind', letter.behind ?? ''],
  ];
  return [...letter.headers, ...own.map(([name, text]) => [name, Buffer.from(text)] as const)];
}

/** Positions as keys of maps. */
export function positionKey({ commit, ordinal }: { readonly commit: Lsn; readonly ordinal: number }): string {
  return `${commit}:${ordinal}`;
}
