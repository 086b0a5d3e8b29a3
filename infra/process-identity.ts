import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** A process that stays the same one: a pid alone may be given to another later. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it began, in the system's own words; only compared. */
  readonly started: string;
}

/** null when no such process runs; one that ended and is not yet reaped does not run. */
export function identifyProcess(pid: number): ProcessIdentity | null {
  const started = process.platform === 'linux' ? startedOnLinux(pid) : startedByPs(pid);
  return started === null ? null : { pid, started };
}

export function isRunning(identity: ProcessIdentity): boolean {
  return identifyProcess(identity.pid)?.started === identity.started;
}

/** proc(5): field 3 is the state, field 22 the start in clock ticks since boot. */
function startedOnLinux(pid: number): string | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  return state === 'Z' || state === 'X' ? null : `${bootId()}/${fields[19] ?? ''}`;
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

function startedByPs(pid: number): string | null {
  const { stdout } = spawnSync('ps', ['-o', 'state=,lstart=', '-p', String(pid)], { encoding: 'utf8' });
  const line = stdout.trim();
  return line === '' || line.startsWith('Z') ? null : line.replace(/^\S+\s+/, '');
}
