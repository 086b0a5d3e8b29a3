import * as z from 'zod';
import { RestageError } from '#core/errors.ts';
import { columnChangeSchema, columnsOfSchema } from '#core/structure-change.ts';

/** Version of the manifest's form; a newer Restage reads the older ones. */
export const MANIFEST_FORMAT = 3;

const lsn = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/);
const count = z.number().int().nonnegative();
const table = z.object({ schema: z.string(), table: z.string() });
const offset = z.string().regex(/^\d+$/);
const floor = z.object({ topic: z.string(), snapshot: lsn });

const range = z.object({
  topic: z.string(),
  partition: count,
  /** Offsets, decimal. In one Kafka transaction a range is contiguous: last = first + count − 1. */
  first: z.string().regex(/^\d+$/),
  last: z.string().regex(/^\d+$/),
  count,
});

const control = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('barrier'), commit: lsn, ordinal: count, id: z.string() }),
  z.object({
    kind: z.literal('truncate'),
    commit: lsn,
    ordinal: count,
    topics: z.array(z.string()),
    cascade: z.boolean(),
    restartIdentity: z.boolean(),
    /** Of its transaction, microseconds since 1970, decimal: no record of a table tells it. */
    commitTime: z
      .string()
      .regex(/^-?\d+$/)
      .optional(),
    /** Of an output's topics: only the rows that have this value, which come from the truncated table; the others come from others. */
    only: z.object({ column: z.string(), value: z.string() }).optional(),
  }),
  /** A table's columns change before the event at this position; `from` and `to` are versions of its structure. */
  z.object({
    kind: z.literal('ddl'),
    commit: lsn,
    ordinal: count,
    topic: z.string(),
    from: count,
    to: count,
    changes: z.array(columnChangeSchema),
    /** Absent: the columns are the table's own. */
    columnsOf: columnsOfSchema.optional(),
  }),
]);

/**
 * One record on `<prefix>.epochs`, written in the same Kafka transaction as the data it names (invariant 2).
 * - intent, origin: the slot's birth. plan: tables and chunks of a load. chunk: rows of one chunk (perhaps in parts).
 * - announce: tables are loaded while the stream goes on; their snapshots are later than every epoch that stands before it.
 * - tableEnd: a table is loaded; `snapshot` is its snapshot's LSN. end: the load's last chunk is written.
 * - stream: whole transactions, or a part of one. empty: only moves `through`.
 */
export const manifestSchema = z.object({
  format: z.number().int(),
  incarnation: z.string(),
  kind: z.enum(['intent', 'origin', 'announce', 'plan', 'chunk', 'tableEnd', 'end', 'stream', 'empty']),
  epoch: count,
  part: count,
  last: z.boolean(),
  firstCommit: lsn.nullable(),
  lastCommit: lsn.nullable(),
  /** Ordinal of the last event, so that a producer can go on in the middle of a transaction's parts. */
  lastOrdinal: count,
  /** Every transaction that committed before this LSN is in Kafka (invariant 1). */
  through: lsn,
  /** Commit time of the last transaction, microseconds since 1970, decimal; null where there is none. */
  commitTime: z
    .string()
    .regex(/^-?\d+$/)
    .nullable(),
  systemId: z.string(),
  timeline: count,
  load: count,
  ranges: z.array(range),
  control: z.array(control),
  /** Offset on this topic of the current load's first plan, decimal; null before it. */
  plan: z.string().regex(/^\d+$/).nullable(),
  /** plan and announce: the tables this load takes (all anew, whatever an earlier load had of them). */
  tables: z
    .array(
      table.extend({
        topic: z.string(),
        chunks: count,
        rows: z.number(),
        /**
         * How its chunks were cut, in their order: each piece is the table or a partition of it, with so many chunks of so many pages,
         * the last open-ended. Without `pages` the one chunk is the whole piece.
         */
        cut: z.array(z.object({ partition: table.optional(), chunks: count, pages: count.optional() })).optional(),
        /** Of the structure that its rows have. */
        version: count.optional(),
        /** plan of a late load: what it is a partition of, and its bounds as pg_get_expr prints them. */
        bounds: z.object({ parent: table, sql: z.string() }).optional(),
        /** plan of a late load: the name that the table had when its events were last captured. */
        renamedFrom: table.optional(),
      }),
    )
    .optional(),
  /** plan: its snapshot, where that outlives the producer (KeptSnapshot), so that another life goes on with the chunks. */
  kept: z.object({ name: z.string(), sees: z.string(), backend: count }).optional(),
  /** From an announcement to its load's end: where the announcement stands (null in itself), and the requests that it serves. */
  late: z.object({ at: offset.nullable(), requests: z.array(z.string()) }).optional(),
  /** Tables that were loaded late, under snapshots that the stream has yet to pass; with their files then (pg_class.relfilenode). */
  floors: z.array(floor.extend({ fileNode: z.string().nullable() })).optional(),
  /** chunk and tableEnd: which. */
  table: table.extend({ topic: z.string() }).optional(),
  chunk: count.optional(),
  /** tableEnd of an output: the tables that have all their rows now, where that is not `table` alone. */
  ended: z.array(table.extend({ topic: z.string() })).optional(),
  rows: count.optional(),
  /** origin and tableEnd: the snapshot's LSN: transactions that committed before it are in the snapshot. */
  snapshot: lsn.optional(),
  /** True from a load's `end` on: a restart need not look for unfinished tables. */
  loaded: z.boolean().optional(),
  /** The slot was given up here: nothing follows. */
  released: z.boolean().optional(),
  /**
   * True where something in it concerns more than one partition of a table, or order across rows: a key that changes, TRUNCATE, a change
   * of columns. Absent where tables have one partition each.
   */
  joint: z.boolean().optional(),
  /**
   * Records on the tables' topics that this manifest and all before it on its topic name: rows of chunks, events of the stream (a
   * delete's tombstone is one more). Two of them tell how much lies between, without reading it.
   */
  total: z.object({ rows: count, events: count }).optional(),
  /** Shaped manifests: what they were made from. */
  raw: z
    .object({
      epoch: count,
      part: count,
      offset: z.string(),
      /** Of a late load: its announcement, after which the stream goes on. */
      back: offset.optional(),
      /** Raw topics whose changes below these LSNs are left out from here on. */
      floors: z.array(floor).optional(),
      /** The rules that made it (core/rules/rules-print.ts). */
      rules: z.string().optional(),
      /** Put together of what lanes made: by lane, the offset of its share. */
      shares: z.array(offset).optional(),
    })
    .optional(),
});

export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestRange = z.infer<typeof range>;
export type ControlEntry = z.infer<typeof control>;
export type ManifestKind = Manifest['kind'];
export type ManifestTotal = NonNullable<Manifest['total']>;

/** A manifest and its own offset on the `.epochs` topic. */
export interface StoredManifest {
  readonly offset: bigint;
  readonly manifest: Manifest;
}

/** A whole epoch of the stream with nothing that cuts it into segments: several of them in a row may be taken as one. */
export function isUncutEpoch(manifest: Manifest): boolean {
  const { kind, part, last } = manifest;
  return kind === 'stream' && part === 1 && last && manifest.control.every((entry) => entry.kind === 'barrier');
}

/** Offset of the current load's first plan, as the newest manifest says it: a plan's own is known once it is written. null before it. */
export function planOf(last: StoredManifest | null): string | null {
  return last?.manifest.plan ?? (last?.manifest.kind === 'plan' ? String(last.offset) : null);
}

/** Manifests of before there were totals count as nothing. */
export function totalOf(manifest: Pick<Manifest, 'total'> | null): ManifestTotal {
  return manifest?.total ?? { rows: 0, events: 0 };
}

/** The total up to a manifest, without its own records. */
export function totalBefore(manifest: Manifest, schemasTopic: string): ManifestTotal {
  const { rows, events } = totalOf(manifest);
  const own = addToTotal({ rows: 0, events: 0 }, manifest, schemasTopic);
  return { rows: Math.max(0, rows - own.rows), events: Math.max(0, events - own.events) };
}

/** The total with a manifest's own records: those on the topic of structures are none. */
export function addToTotal(
  total: ManifestTotal,
  { kind, ranges }: Pick<Manifest, 'kind' | 'ranges'>,
  schemasTopic: string,
): ManifestTotal {
  const own = ranges.reduce((sum, { topic, count: records }) => sum + (topic === schemasTopic ? 0 : records), 0);
  return kind === 'stream' ? { ...total, events: total.events + own } : { ...total, rows: total.rows + own };
}

const formatSchema = z.object({ format: z.number() });

/** @throws RestageError manifest_invalid, or state_newer for a form that this version does not know. */
export function parseManifest(bytes: Buffer, where: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new RestageError('manifest_invalid', 'a manifest is not JSON', { where, cause });
  }
  // First: a newer form need not fit what is known of the older one.
  const format = formatSchema.safeParse(json).data?.format ?? 0;
  if (format > MANIFEST_FORMAT) {
    throw new RestageError('state_newer', `a manifest has form ${format}, newer than this Restage reads`, {
      where,
      fix: 'use the newer version of Restage that wrote it',
    });
  }
  const parsed = manifestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new RestageError('manifest_invalid', `a manifest is not of the known form: ${z.prettifyError(parsed.error)}`, {
    where,
  });
}
