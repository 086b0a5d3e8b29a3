import { findManifest } from '#adapters/kafka/find-manifest.ts';
import { readLastManifest } from '#adapters/kafka/last-manifest.ts';
import type { Config } from '#core/config.ts';
import type { Logger } from '#core/log.ts';
import { totalOf } from '#core/manifest.ts';
import type { RatePoint } from '#core/migration/migration-report.ts';
import { openControlPool } from '../control-topic.ts';

const POINTS = 60;
const SAMPLES = 120;

interface Sample {
  /** Commit time, microseconds since 1970. */
  readonly at: number;
  readonly events: number;
}

/** Events of the source over its commit times, by the running totals of manifests: however long the history is, as many are looked up. */
export async function readRates(config: Config, logger: Logger): Promise<RatePoint[]> {
  const pool = openControlPool(config, logger);
  try {
    const all = totalOf((await readLastManifest(pool, config.name))?.manifest ?? null).events;
    if (all === 0) return [];
    const samples: Sample[] = [];
    for (let n = 0; n <= SAMPLES; n += 1) {
      // The first manifest that reaches a total is one with events, and so with a commit time.
      const wanted = Math.max(1, Math.round((all * n) / SAMPLES));
      const found = await findManifest(pool, config.name, (manifest) => totalOf(manifest).events >= wanted);
      if (found === null || found.manifest.commitTime === null) continue;
      samples.push({ at: Number(found.manifest.commitTime), events: totalOf(found.manifest).events });
    }
    return ratesOf(samples);
  } finally {
    await pool.close();
  }
}

/** Evenly spaced, with what lies between two samples spread over their time. */
export function ratesOf(samples: readonly Sample[]): RatePoint[] {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || last.at <= first.at) return [];
  const step = (last.at - first.at) / POINTS;
  return Array.from({ length: POINTS }, (_, index) => {
    const [from, until] = [first.at + index * step, first.at + (index + 1) * step];
    const perSecond = ((eventsAt(samples, until) - eventsAt(samples, from)) * 1e6) / step;
    return { from: isoOf(from), until: isoOf(until), perSecond: Math.max(0, perSecond) };
  });
}

function eventsAt(samples: readonly Sample[], at: number): number {
  const next = samples.findIndex((sample) => sample.at >= at);
  const [before, after] = [samples[next - 1], samples[next]];
  if (after === undefined) return samples.at(-1)?.events ?? 0;
  if (before === undefined || after.at === before.at) return after.events;
  return before.events + ((at - before.at) / (after.at - before.at)) * (after.events - before.events);
}

function isoOf(micros: number): string {
  return new Date(micros / 1_000).toISOString();
}
