import { readdir, readFile } from 'node:fs/promises';

/** Linux counts processor time in ticks of this many a second (proc(5), stat; sysconf(_SC_CLK_TCK) is 100 wherever Node runs). */
const TICKS_PER_SECOND = 100;

interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  /** User and system time of the process and of its children that ended and were waited for, in ticks. */
  readonly ticks: number;
}

/** Whose processor time is read: process numbers of a program and of servers, whose children count too. */
export type ProcessGroup = readonly number[];

/** Seconds of processor time that a group has used so far, children included. */
export async function processorSeconds(group: ProcessGroup): Promise<number> {
  const all = await readStats();
  const counted = new Set<number>(group);
  // Parents come before children often, not always: until nothing is added.
  for (let size = 0; size !== counted.size;) {
    size = counted.size;
    for (const { pid, parent } of all) if (counted.has(parent)) counted.add(pid);
  }
  return all.filter(({ pid }) => counted.has(pid)).reduce((sum, { ticks }) => sum + ticks, 0) / TICKS_PER_SECOND;
}

/** The most memory that a process has had so far, in bytes (proc(5), VmHWM); 0 when it has ended. */
export async function peakMemory(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
}

/** Numbers of processes whose command line has all of these words, in any argument. */
export async function findPids(words: readonly string[]): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const line = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    if (line !== '' && words.every((word) => line.includes(word))) found.push(Number(entry));
  }
  return found;
}

async function readStats(): Promise<ProcessStat[]> {
  const stats: ProcessStat[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const text = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    // The name in parentheses may hold spaces; state, parent, …, utime, stime, cutime, cstime follow it.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    if (fields.length < 16) continue;
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    stats.push({ pid: Number(entry), parent: Number(fields[1]), ticks });
  }
  return stats;
}
