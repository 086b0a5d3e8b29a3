import { execFile } from 'node:child_process';
import { chown, cp, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { freePort } from '#infra/free-port.ts';
import type { Infrastructure } from '#infra/infrastructure.ts';
import { askVersion } from '#infra/providers/postgres-process.ts';
import type { PostgresServer } from '#infra/providers/provider.ts';
import { unprivilegedUser } from '#infra/system-user.ts';
import { until } from './until.ts';

const run = promisify(execFile);

export interface Clone {
  readonly url: string;
  /** From a stand-by that waits for more WAL to a server of its own, on the next timeline. */
  promote(): Promise<void>;
}

/** A copy of a server's files while it runs, its slots among them: what a snapshot of its disk would be. */
export async function copyFiles(server: PostgresServer, dir: string, copy: string): Promise<void> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await client.query(`SELECT pg_backup_start('copy', true)`);
  await cp(path.join(dir, 'data'), path.join(copy, 'data'), { recursive: true, preserveTimestamps: true });
  const [row] = (await client.query<{ labelfile: string }>('SELECT labelfile FROM pg_backup_stop(false)')).rows;
  await writeFile(path.join(copy, 'data', 'backup_label'), row?.labelfile ?? '');
  // What was written until the end of the copy is needed to make it whole.
  await cp(path.join(dir, 'data', 'pg_wal'), path.join(copy, 'data', 'pg_wal'), { recursive: true, force: true });
  await client.end();
  await rm(path.join(copy, 'data', 'postmaster.pid'), { force: true });
  await writeFile(path.join(copy, 'data', 'standby.signal'), '');
}

/** Starts a copy as a stand-by without a primary, which replays the WAL that it has. */
export async function startClone(
  infrastructure: Infrastructure,
  server: PostgresServer,
  copy: string,
  args: readonly string[] = [],
): Promise<Clone> {
  const binDir = server.binDir ?? '';
  const user = unprivilegedUser();
  if (user !== null) await own(copy, user.uid, user.gid);
  const port = await freePort();
  infrastructure.processes.launch({
    name: `copied PostgreSQL on port ${port}`,
    command: path.join(binDir, 'postgres'),
    args: ['-D', path.join(copy, 'data'), ...settings({ port: String(port) }), ...args],
    env: { PATH: process.env['PATH'], TZ: 'UTC' },
    user,
    logFile: path.join(copy, 'server.log'),
    stopSignal: 'SIGINT',
    killSignal: 'SIGQUIT',
    temporaryDir: copy,
    outlivesUs: false,
  });
  const url = new URL(server.url);
  url.port = String(port);
  await until(async () => (await askVersion(url.href)) !== null, { what: 'the copy to answer', timeoutMs: 60_000 });
  return {
    url: url.href,
    async promote() {
      const ids = user === null ? {} : { uid: user.uid, gid: user.gid };
      await run(path.join(binDir, 'pg_ctl'), ['promote', '-w', '-D', path.join(copy, 'data')], { cwd: '/', ...ids });
    },
  };
}

function settings(more: Readonly<Record<string, string>>): string[] {
  const all = {
    wal_level: 'logical',
    fsync: 'off',
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '100',
    max_wal_senders: '20',
    max_replication_slots: '20',
    max_prepared_transactions: '10',
    ...more,
  };
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

async function own(dir: string, uid: number, gid: number): Promise<void> {
  await chown(dir, uid, gid);
  for (const entry of await readdir(dir, { withFileTypes: true, recursive: true }))
    await chown(path.join(entry.parentPath, entry.name), uid, gid);
}
