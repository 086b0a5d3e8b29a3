import { readTopics, type ReadRecord } from '../harness/topic-records.ts';
import { PROBE_TABLE, quantile, type SeenProbes } from './latency-probe.ts';

/** What the names of topics begin with. */
export interface Prefixes {
  readonly raw: string;
  readonly shaped: string;
}

/** Of a probe's event in a topic, in milliseconds since 1970. */
interface Moments {
  /** Of its transaction at the source. */
  readonly committed: number;
  /** When its envelope was made. */
  readonly made: number;
  /** When its batch was closed, right before it was sent. */
  readonly sent: number;
}

interface ProbeEvent {
  readonly after: { readonly id: number };
  readonly source: { readonly ts_us: number };
  readonly ts_us: number;
}

const READ_LIMIT_MS = 60_000;
const US_PER_MS = 1_000;

/** Where the time of a probe goes, medians in milliseconds, by the times in its records: all clocks are this machine's. */
export async function readStageLatencies(
  { raw, shaped }: Prefixes,
  { seenAt }: SeenProbes,
): Promise<Readonly<Record<string, number>>> {
  const topics = [raw, shaped].map((prefix) => `${prefix}.${PROBE_TABLE}`);
  const records = await readTopics(topics, (all) => all.length === topics.length * seenAt.length, READ_LIMIT_MS);
  const [first, second] = topics.map((topic) => momentsById(records.filter((record) => record.topic === topic)));
  const all = seenAt.map((seen, id) => ({ seen, raw: momentsOf(first, id), shaped: momentsOf(second, id) }));
  const p50 = (msOf: (one: (typeof all)[number]) => number): number => quantile(all.map(msOf), 0.5);
  return {
    'p50 ms to be captured': p50((one) => one.raw.made - one.raw.committed),
    'p50 ms to be sent by the producer': p50((one) => one.raw.sent - one.raw.made),
    'p50 ms to be sent by the transformer': p50((one) => one.shaped.sent - one.raw.sent),
    'p50 ms to be seen at the target': p50((one) => one.seen - one.shaped.sent),
  };
}

/** By the probe's number. */
function momentsById(records: readonly ReadRecord[]): ReadonlyMap<number, Moments> {
  return new Map(
    records.map(({ value, timestamp }) => {
      const { after, source, ts_us: made } = JSON.parse(String(value)) as ProbeEvent;
      return [after.id, { committed: source.ts_us / US_PER_MS, made: made / US_PER_MS, sent: timestamp }];
    }),
  );
}

/** @throws Error where a probe is missing. */
function momentsOf(found: ReadonlyMap<number, Moments> | undefined, id: number): Moments {
  const moments = found?.get(id);
  if (moments === undefined) throw new Error(`probe ${id} is not in the topics`);
  return moments;
}
