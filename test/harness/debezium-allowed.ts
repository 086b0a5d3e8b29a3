import type { AllowedDifference, Difference, Json } from './debezium-diff.ts';

const SOURCE = 'value.payload.source.';

function at(...paths: readonly string[]): (difference: Difference) => boolean {
  return ({ path }) => paths.includes(path);
}

function ofColumn(name: string): (difference: Difference) => boolean {
  return ({ path }) => new RegExp(`^value\\.payload\\.(before|after)\\.${name}(\\.|$)`).test(path);
}

/** Where Restage's profile `debezium` writes something else than Debezium 3.5, each with its reason. docs/debezium.md tells the same. */
export const ALLOWED: readonly AllowedDifference[] = [
  { name: 'source.version', why: 'each tells its own', covers: at(`${SOURCE}version`) },
  {
    name: 'run id',
    why: "Debezium's is new with every start, Restage's is the pipeline's",
    covers: at('headers.__debezium.context.runId'),
  },
  {
    name: 'time of processing',
    why: 'each has its own clock and hour; Restage counts milliseconds',
    covers: at('value.payload.ts_ms', 'value.payload.ts_us', 'value.payload.ts_ns'),
  },
  {
    name: 'when and where a snapshot was read',
    why: 'two snapshots; and txId there is the number of the transaction that reads, which tells nothing of the row',
    covers: ({ path, op }) =>
      op === 'r' && /^value\.payload\.source\.(ts_ms|ts_us|ts_ns|txId|lsn|sequence)$/.test(path),
  },
  {
    name: 'snapshot markers',
    isOccasional: true,
    why: 'tables and chunks are read side by side, so another row is the first or the last of all',
    covers: ({ path, op }) => op === 'r' && path === `${SOURCE}snapshot`,
  },
  {
    name: 'sequence of the first transaction',
    why: 'Debezium knows no commit before it; Restage says how far the stream was',
    covers: ({ path, op, theirs }) =>
      op !== 'r' && path === `${SOURCE}sequence` && typeof theirs === 'string' && theirs.startsWith('[null,'),
  },
  {
    name: 'a default with a quote',
    why: 'Debezium cuts it at the quote',
    covers: ({ path, theirs, ours }) =>
      theirs === 'it' && ours === "it's" && /\.t(\.type\.connect)?(\.default)?$/.test(path),
  },
  {
    name: 'NULL in a column with a default',
    why: "JsonConverter writes the default in its place (replace.null.with.default); Restage's NULL stays NULL",
    covers: ({ path, ours }) => ours === null && /^value\.payload\.before\.(optional|opt_now)$/.test(path),
  },
  {
    name: 'type name',
    why: 'Debezium loses its values in the stream',
    covers: ({ path, theirs }) => /\.(c_name|nm)$/.test(path) && (theirs === null || theirs === ''),
  },
  {
    name: 'time in arrays',
    why: 'Debezium cuts it to milliseconds',
    covers: ofColumn('a_time'),
  },
  {
    name: 'float4 in text',
    why: 'two shortest forms of one number',
    covers: ({ path, theirs, ours }) => path.endsWith('.c_float4') && isSameFloat(theirs, ours),
  },
  {
    name: 'money as text in snapshots',
    why: 'Debezium drops zeros behind the point there, and keeps them in the stream',
    covers: ({ path, op, theirs, ours }) =>
      op === 'r' && /\.(c_money|m)$/.test(path) && Number(theirs) === Number(ours),
  },
  {
    name: 'unchanged bytea in text modes',
    why: 'Debezium writes NULL in base64, which cannot be told from one; Restage the placeholder in every mode',
    covers: ({ path, topic, theirs }) =>
      topic === 'public.toasted' && path === 'value.payload.after.b' && theirs === null,
  },
  {
    name: 'infinite timestamps in nanoseconds',
    why: 'they overflow in Debezium 3.5; Restage writes the ends of int64, as Debezium 3.6 does',
    isOccasional: true,
    covers: ({ path, ours }) =>
      path.endsWith('.c_timestamp_ends') && (ours === '9223372036854775807' || ours === '-9223372036854775808'),
  },
  {
    name: 'generated columns',
    why: 'Debezium has them in snapshots and not in the stream; Restage never',
    covers: ({ path, topic }) => topic === 'public.generated' && /(\.twice(\.|$)|\.order$)/.test(path),
  },
];

/** What is different in shaped topics besides. */
export const ALLOWED_SHAPED: readonly AllowedDifference[] = [
  {
    name: 'transaction block of shaped topics',
    why: 'rules may drop events, so their order in the transaction would have holes',
    covers: at('value.payload.transaction'),
  },
  {
    name: 'sequence of shaped topics',
    why: "it begins with the event's own commit: raw topics tell that one, not the one before",
    covers: ({ path, op }) => op !== 'r' && path === `${SOURCE}sequence`,
  },
];

function isSameFloat(theirs: Json | undefined, ours: Json | undefined): boolean {
  return typeof theirs === 'number' && typeof ours === 'number' && Math.fround(theirs) === Math.fround(ours);
}
