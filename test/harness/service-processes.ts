import { readdir, readFile } from 'node:fs/promises';

export interface ServiceProcess {
  readonly pid: number;
  readonly service: string;
}

const SERVICES = ['producer', 'transformer', 'sink'];

/** The services that a `restage run` has started with this configuration and that live, told by their command lines. */
export async function servicesOf(runPid: number, config: string): Promise<ServiceProcess[]> {
  const found = await findProcesses(SERVICES, config);
  return found.filter(({ parent }) => parent === runPid);
}

/** Process numbers of the keepers of this configuration's snapshots, whoever started them. */
export async function keepersOf(config: string): Promise<number[]> {
  return (await findProcesses(['keeper'], config)).map(({ pid }) => pid);
}

async function findProcesses(
  services: readonly string[],
  config: string,
): Promise<(ServiceProcess & { readonly parent: number })[]> {
  const found: (ServiceProcess & { readonly parent: number })[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const args = (await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')).split('\0');
    const service = args.find((arg) => services.includes(arg));
    if (service === undefined || !args.includes(config)) continue;
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (stat !== '' && state !== 'Z') found.push({ pid: Number(entry), service, parent: Number(parent) });
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
