import { readdir, readFile } from 'node:fs/promises';

export interface ServiceProcess {
  readonly pid: number;
  readonly service: string;
}

const SERVICES = ['producer', 'transformer', 'sink'];

/** The services that a `restage run` has started with this configuration and that live, told by their command lines. */
export async function servicesOf(runPid: number, config: string): Promise<ServiceProcess[]> {
  const found: ServiceProcess[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    if (parent !== runPid) continue;
    const args = (await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')).split('\0');
    const service = args.find((arg) => SERVICES.includes(arg));
    if (service !== undefined && args.includes(config)) found.push({ pid: Number(entry), service });
  }
  return found;
}

/** Nothing when it has ended. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended in between.
  }
}
