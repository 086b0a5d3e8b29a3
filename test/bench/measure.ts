import type { BenchServers } from './bench-servers.ts';
import { peakMemory, processorSeconds, type ProcessGroup } from './process-figures.ts';

/** What one run took. Components: the services that ran, `broker`, `source`, `target`. */
export interface Figures {
  readonly seconds: number;
  /** Seconds of processor time by component. */
  readonly processor: Readonly<Record<string, number>>;
  /** The most memory a service had, in bytes. */
  readonly peaks: Readonly<Record<string, number>>;
}

/** Begins to measure; call what it returns at the end, while the services still run. A service counts whole, its start too. */
export async function measure(
  servers: BenchServers,
  services: () => ReadonlyMap<string, number>,
): Promise<() => Promise<Figures>> {
  const before = await readServers(servers.groups);
  const startedAt = performance.now();
  return async () => {
    const seconds = (performance.now() - startedAt) / 1000;
    const after = await readServers(servers.groups);
    const processor: Record<string, number> = {};
    const peaks: Record<string, number> = {};
    for (const [name, pid] of services()) {
      processor[name] = await processorSeconds([pid]);
      peaks[name] = await peakMemory(pid);
    }
    for (const [name, used] of Object.entries(after)) processor[name] = used - (before[name] ?? 0);
    return { seconds, processor, peaks };
  };
}

/** The same beside services that run already: what they took so far, their start and a load perhaps, does not count. */
export async function measureOnwards(
  servers: BenchServers,
  services: () => ReadonlyMap<string, number>,
): Promise<() => Promise<Figures>> {
  const before = new Map<string, number>();
  for (const [name, pid] of services()) before.set(name, await processorSeconds([pid]));
  const finish = await measure(servers, services);
  return async () => {
    const figures = await finish();
    const used = Object.entries(figures.processor).map(([name, all]) => [name, all - (before.get(name) ?? 0)] as const);
    return { ...figures, processor: Object.fromEntries(used) };
  };
}

async function readServers(groups: Readonly<Record<string, ProcessGroup>>): Promise<Record<string, number>> {
  const read: Record<string, number> = {};
  for (const [name, group] of Object.entries(groups)) read[name] = await processorSeconds(group);
  return read;
}
