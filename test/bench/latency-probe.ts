import { until } from '../harness/until.ts';
import { connect, type DatabasePair } from './bench-servers.ts';

export interface SeenProbes {
  /** By the probe's number: when it was seen at the target, in milliseconds since 1970. */
  readonly seenAt: readonly number[];
}

/** Milliseconds from the answer to a COMMIT at the source until another session of the target sees the row. */
export interface Latency extends SeenProbes {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Of those that were committed after the first seconds, in which programs and caches warm up beside a load that begins at once. */
  readonly steady: { readonly p50Ms: number; readonly p99Ms: number };
  readonly probes: number;
}

export const PROBE_TABLE = 'public.bench_probe';
const PROBES_PER_SECOND = 50;
const ARRIVAL_MS = 60_000;
const WARMING_SECONDS = 5;

/** Before the pipeline begins: the probes' table, at the source. */
export async function makeProbeTable(source: string): Promise<void> {
  const client = await connect(source);
  await client.query(`CREATE TABLE ${PROBE_TABLE} (id integer PRIMARY KEY)`);
  await client.end();
}

/** Commits one row after another for so many seconds, whatever else goes on, and watches the target for each. */
export async function probeLatency(pair: DatabasePair, seconds: number): Promise<Latency> {
  const [source, target] = [await connect(pair.source), await connect(pair.target)];
  const count = seconds * PROBES_PER_SECOND;
  const committed: number[] = [];
  const waits: number[] = [];
  const seenAt: number[] = [];
  const see = async (): Promise<boolean> => {
    const { rows } = await target.query<{ id: number }>(`SELECT coalesce(max(id), -1) AS id FROM ${PROBE_TABLE}`);
    const now = performance.now();
    const seen = rows[0]?.id ?? -1;
    // A probe can be seen before its own COMMIT was answered: then it waited for nothing.
    while (waits.length <= seen) {
      waits.push(Math.max(0, now - (committed[waits.length] ?? now)));
      seenAt.push(performance.timeOrigin + now);
    }
    return waits.length === count;
  };
  try {
    const watching = until(see, {
      what: 'every probe at the target',
      timeoutMs: seconds * 1000 + ARRIVAL_MS,
      everyMs: 4,
    });
    const startedAt = performance.now();
    for (let id = 0; id < count; id += 1) {
      const dueIn = startedAt + (id * 1000) / PROBES_PER_SECOND - performance.now();
      if (dueIn > 0) await new Promise((resolve) => setTimeout(resolve, dueIn));
      await source.query(`INSERT INTO ${PROBE_TABLE} VALUES ($1)`, [id]);
      committed[id] = performance.now();
    }
    await watching;
  } finally {
    await Promise.all([source.end(), target.end()]);
  }
  const steady = waits.slice(WARMING_SECONDS * PROBES_PER_SECOND);
  return {
    p50Ms: quantile(waits, 0.5),
    p99Ms: quantile(waits, 0.99),
    maxMs: quantile(waits, 1),
    steady: { p50Ms: quantile(steady, 0.5), p99Ms: quantile(steady, 0.99) },
    probes: count,
    seenAt,
  };
}

export function quantile(list: readonly number[], share: number): number {
  return list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * share))] ?? NaN;
}
