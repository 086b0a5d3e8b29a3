import { createHash } from 'node:crypto';
import * as z from 'zod';
import { RestageError } from '#core/errors.ts';
import { STEP_NAMES } from './steps.ts';

/** Which database the application writes to. */
export type Side = 'source' | 'target';

export function otherSide(side: Side): Side {
  return side === 'source' ? 'target' : 'source';
}

/** Commands that change something and are no step of a switch. */
export const ACTIONS = [
  'pause',
  'resume',
  'check --fix',
  'globals',
  'schema copy',
  'schema finish',
  'sequences',
  'snapshot',
  'replay',
  'accept',
  'dlq retry',
  'dlq drop',
  'rehearse',
  'reset',
  'teardown',
] as const;

export type Action = (typeof ACTIONS)[number];

const side = z.enum(['source', 'target']);
const step = z.enum(STEP_NAMES);
/** For people who read the audit: LSNs, counts, names. Never a row's value (invariant 8). */
const evidence = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));

/**
 * What happened to a migration.
 * - checked: the checklist was asked, by a person or as the gate before the copy or a cutover; it is passed where nothing blocks.
 * - acted: a command that changes something was given, with these arguments. `id`: one that waited in Kafka for its target is taken in once.
 * - prepared: guards are in place on both sides; with a way back its producer keeps up.
 * - joined: it is switched with these targets, itself among them; the first one's journal has their switches.
 * - verified: a comparison of all rows ended.
 * - repaired: rows of the target were made what the source had at an LSN.
 * - begun: a switch to this side began. Then steps, each started and done, or undone.
 * - committed: the point of no return of that switch: from here on only forward.
 * - aborted: everything was undone, and the side that was live before still is.
 * - finished: every step is done; writers were refused for so many milliseconds.
 * - completed: the migration is over.
 */
const entrySchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('checked'),
    gate: z.enum(['none', 'copy', 'cutover']),
    blocks: z.array(z.string()),
    warns: z.number(),
  }),
  z.object({ kind: z.literal('acted'), action: z.enum(ACTIONS), with: evidence, id: z.string() }),
  z.object({ kind: z.literal('prepared'), wayBack: z.boolean() }),
  z.object({ kind: z.literal('joined'), together: z.array(z.string()).min(2) }),
  z.object({
    kind: z.literal('verified'),
    from: side,
    verdict: z.enum(['equal', 'different', 'unverified']),
    seconds: z.number(),
    rows: z.number(),
    /** Where the target's position was when it began. */
    since: z.string().optional(),
  }),
  z.object({ kind: z.literal('repaired'), lsn: z.string(), rows: z.number(), tables: z.array(z.string()) }),
  z.object({ kind: z.literal('begun'), to: side, timeBoxMs: z.number(), wayBack: z.boolean() }),
  z.object({ kind: z.literal('started'), step }),
  z.object({ kind: z.literal('done'), step, ms: z.number(), evidence }),
  z.object({ kind: z.literal('undone'), step, ms: z.number(), evidence }),
  z.object({ kind: z.literal('committed'), to: side }),
  z.object({ kind: z.literal('aborted'), live: side, why: z.string() }),
  z.object({ kind: z.literal('finished'), live: side, unavailableMs: z.number() }),
  z.object({ kind: z.literal('completed'), live: side }),
]);

export type JournalEntry = z.infer<typeof entrySchema>;
export type Evidence = z.infer<typeof evidence>;

/** A command that could not be noted in its target yet. */
const waitingSchema = z.object({
  id: z.string(),
  at: z.string(),
  by: z.string(),
  action: z.enum(ACTIONS),
  with: evidence,
});

export type WaitingNote = z.infer<typeof waitingSchema>;

/** Null where it is none. */
export function parseWaitingNote(text: string): WaitingNote | null {
  try {
    return waitingSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

export interface JournalRecord {
  /** From 1, without a gap. */
  readonly seq: number;
  /** ISO 8601, by the operator's clock. */
  readonly at: string;
  /** user@host:process of whoever did it. */
  readonly by: string;
  /** Counts operators: a later one has a higher one, and whoever has a lower one may do nothing more. */
  readonly term: number;
  readonly entry: JournalEntry;
  /** Hash of the record before it; '' for the first. */
  readonly previous: string;
  /** SHA-256 over all of the above. */
  readonly hash: string;
}

const recordSchema = z.object({
  seq: z.number(),
  at: z.string(),
  by: z.string(),
  term: z.number(),
  entry: entrySchema,
  previous: z.string(),
  hash: z.string(),
});

/** The record that follows. */
export function nextRecord(
  last: JournalRecord | null,
  entry: JournalEntry,
  who: Pick<JournalRecord, 'at' | 'by' | 'term'>,
): JournalRecord {
  const record = { seq: (last?.seq ?? 0) + 1, ...pick(who), entry, previous: last?.hash ?? '' };
  return { ...record, hash: hashOf(record) };
}

function pick({ at, by, term }: Pick<JournalRecord, 'at' | 'by' | 'term'>): Pick<JournalRecord, 'at' | 'by' | 'term'> {
  return { at, by, term };
}

function hashOf({ seq, at, by, term, entry, previous }: Omit<JournalRecord, 'hash'>): string {
  return createHash('sha256')
    .update(JSON.stringify([seq, at, by, term, sorted(entry), previous]))
    .digest('hex');
}

/** The same text for the same content, in whatever order its keys were read back. */
function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => [key, sorted(inner)]);
}

/**
 * Holds that no record is missing, altered or put in between.
 * @throws RestageError state_damaged, state_newer for a record of a form that this version does not know.
 */
export function parseJournal(texts: readonly string[], where: string): JournalRecord[] {
  const records: JournalRecord[] = [];
  for (const text of texts) {
    const value = jsonOf(text);
    if (value === undefined) throw altered(where, records.length + 1);
    const parsed = recordSchema.safeParse(value);
    if (!parsed.success)
      throw new RestageError(
        'state_newer',
        'the migration journal has a record of a form that this Restage does not know',
        {
          where,
          fix: 'use the newer version of Restage that wrote it',
        },
      );
    requireNext(records.at(-1) ?? null, parsed.data, where);
    records.push(parsed.data);
  }
  return records;
}

/** undefined: it is no JSON, and no Restage wrote it. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function requireNext(last: JournalRecord | null, record: JournalRecord, where: string): void {
  const isNext = record.seq === (last?.seq ?? 0) + 1 && record.previous === (last?.hash ?? '');
  if (!isNext || hashOf(record) !== record.hash) throw altered(where, record.seq);
}

function altered(where: string, seq: number): RestageError {
  return new RestageError('state_damaged', 'the migration journal was altered: its chain of hashes does not fit', {
    where: `${where}, record ${seq}`,
    fix: 'compare it with its copy in Kafka; nothing is switched by a journal that somebody changed',
  });
}
