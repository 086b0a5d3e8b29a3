import { existsSync, readdirSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { spawnSync } from 'node:child_process';
import type { ServerProcesses } from '#infra/processes.ts';
import { startPostgresProcess } from '#infra/providers/postgres-process.ts';
import type { PostgresProvider } from '#infra/providers/provider.ts';
import { unprivilegedUser } from '#infra/system-user.ts';

const OLDEST_MAJOR = 14;

interface PostgresInstallation {
  readonly binDir: string;
  readonly major: number;
}

/** PostgreSQL as the machine has it installed; `major` narrows it to one version. */
export function machinePostgres(processes: ServerProcesses, major?: number): PostgresProvider {
  const found = findInstallations().find((one) => major === undefined || one.major === major);
  return {
    name:
      found === undefined ? "the machine's PostgreSQL" : `the machine's PostgreSQL ${found.major} (${found.binDir})`,
    async probe() {
      if (found === undefined) return `no PostgreSQL ${major ?? `${OLDEST_MAJOR} or newer`} server is installed`;
      if (process.getuid?.() === 0 && unprivilegedUser() === null)
        return 'it refuses to run as root, and there is neither a user postgres nor nobody';
      return null;
    },
    async start(options) {
      return startPostgresProcess(found?.binDir ?? '', options, processes);
    },
  };
}

/** Every server installation of a supported version, newest first. */
function findInstallations(): PostgresInstallation[] {
  const installations = new Map<string, PostgresInstallation>();
  for (const binDir of candidateFolders()) {
    if (!existsSync(join(binDir, 'initdb')) || !existsSync(join(binDir, 'postgres'))) continue;
    const { stdout } = spawnSync(join(binDir, 'postgres'), ['--version'], { encoding: 'utf8' });
    const major = Number(/(\d+)/.exec(stdout ?? '')?.[1] ?? 0);
    if (major >= OLDEST_MAJOR) installations.set(binDir, { binDir, major });
  }
  return [...installations.values()].toSorted((a, b) => b.major - a.major);
}

/** Debian's, Red Hat's and Homebrew's folders, then PATH. */
function candidateFolders(): string[] {
  const debian = childrenOf('/usr/lib/postgresql').map((child) => join(child, 'bin'));
  const redHat = childrenOf('/usr')
    .filter((child) => /pgsql-\d+$/.test(child))
    .map((child) => join(child, 'bin'));
  const homebrew = ['/opt/homebrew/opt', '/usr/local/opt']
    .flatMap(childrenOf)
    .filter((child) => /postgresql(@\d+)?$/.test(child));
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '' && dirname(folder) !== folder);
  return [...debian, ...redHat, ...homebrew.map((child) => join(child, 'bin')), ...path];
}

function childrenOf(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}
