import * as z from 'zod';
import type { DeadLetter } from '#core/dead-letter.ts';
import { RestageError } from '#core/errors.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import { comparePositions } from '#core/position.ts';

/** A dead letter of a transformer that waits: without its bytes, which stand on its raw topic, and with what others wait at. */
export interface WaitingLetter extends Omit<DeadLetter, 'key' | 'value' | 'headers'> {
  /** `row`: its change alone waits; `transaction`: its whole source transaction does. */
  readonly scope: 'row' | 'transaction';
  /** Hashes of core/key-slots.ts: what touches one of them waits behind it. */
  readonly slots: readonly string[];
  /** Milliseconds since 1970. */
  readonly madeAt: number;
}

/** Version of the record's form; a newer Restage reads the older ones. */
const FORMAT = 1;

const whole = z.string().regex(/^\d+$/);
const formatSchema = z.object({ format: z.number() });
const schema = z.object({
  format: z.literal(FORMAT),
  id: z.string(),
  service: z.string(),
  topic: z.string(),
  partition: z.number(),
  offset: whole,
  commit: z.string().nullable(),
  ordinal: z.number(),
  xid: whole.nullable(),
  table: z.object({ schema: z.string(), table: z.string() }),
  kind: z.enum(['insert', 'update', 'delete', 'truncate', 'unknown']),
  rowKey: z.record(z.string(), z.string().nullable()).nullable(),
  stage: z.enum(['read', 'shape', 'apply']),
  code: z.string(),
  error: z.string(),
  behind: z.string().nullable(),
  scope: z.enum(['row', 'transaction']),
  slots: z.array(z.string()),
  madeAt: z.number(),
});

/** Its record on the output's topic of what waits, under its id. */
export function writeWaitingLetter({ position, offset, xid, ...letter }: WaitingLetter): string {
  return JSON.stringify({
    format: FORMAT,
    ...letter,
    offset: String(offset),
    commit: position === null ? null : formatLsn(position.commit),
    ordinal: position?.ordinal ?? 0,
    xid: xid === null ? null : String(xid),
  });
}

/** @throws RestageError state_newer, state_damaged naming the topic. */
export function parseWaitingLetter(value: Buffer, topic: string): WaitingLetter {
  let json: unknown;
  try {
    json = JSON.parse(value.toString('utf8'));
    const { format: _format, commit, ordinal, offset, xid, ...letter } = schema.parse(json);
    return {
      ...letter,
      offset: BigInt(offset),
      position: commit === null ? null : { commit: parseLsn(commit), ordinal },
      xid: xid === null ? null : BigInt(xid),
    };
  } catch (cause) {
    const format = formatSchema.safeParse(json).data?.format ?? 0;
    if (format > FORMAT)
      throw new RestageError(
        'state_newer',
        `a record of what waits has form ${format}, newer than this Restage reads`,
        {
          where: `topic ${topic}`,
          fix: 'use the newer version of Restage that wrote it',
        },
      );
    throw new RestageError('state_damaged', 'a record of what waits is of no known form', {
      where: `topic ${topic}`,
      fix: "raise the output's version: it is made from history",
      cause,
    });
  }
}

/** Rows of a load first, then as the source wrote them. */
export function compareLetters(a: WaitingLetter, b: WaitingLetter): number {
  if (a.position !== null && b.position !== null) return comparePositions(a.position, b.position);
  if (a.position !== null || b.position !== null) return a.position === null ? -1 : 1;
  if (a.topic !== b.topic) return a.topic < b.topic ? -1 : 1;
  return a.offset < b.offset ? -1 : 1;
}
