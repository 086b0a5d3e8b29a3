import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { freePort } from '#infra/free-port.ts';
import { readTail, type ServerProcess, type ServerProcesses } from '#infra/processes.ts';
import type { PostgresServer, ServerOptions } from '#infra/providers/provider.ts';
import { canReach, type SystemUser, unprivilegedUser } from '#infra/system-user.ts';

const run = promisify(execFile);
const START_TIMEOUT_MS = 60_000;

/** What logical replication and several services at once need (PostgreSQL: "Replication", "Logical Replication: Configuration Settings"). */
const SETTINGS: Readonly<Record<string, string>> = {
  wal_level: 'logical',
  max_wal_senders: '20',
  max_replication_slots: '20',
  max_prepared_transactions: '10',
  max_connections: '100',
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  log_min_messages: 'warning',
  timezone: 'UTC',
};
const NOT_DURABLE: Readonly<Record<string, string>> = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
};

/** A new cluster from `binDir`, run as a user that PostgreSQL accepts, reachable over 127.0.0.1 by password only. */
export async function startPostgresProcess(
  binDir: string,
  options: ServerOptions,
  processes: ServerProcesses,
): Promise<PostgresServer> {
  const user = unprivilegedUser();
  const password = randomBytes(16).toString('hex');
  const port = options.port ?? (await freePort());
  await initialiseCluster(binDir, options.dir, user, password);
  const settings = {
    ...SETTINGS,
    ...(options.durable === false ? NOT_DURABLE : {}),
    ...options.settings,
    port: String(port),
  };
  const server = processes.launch({
    name: `PostgreSQL on port ${port}`,
    command: join(binDir, 'postgres'),
    args: [
      '-D',
      join(options.dir, 'data'),
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    env: { PATH: process.env['PATH'], TZ: 'UTC' },
    user,
    logFile: join(options.dir, 'server.log'),
    stopSignal: 'SIGINT', // PostgreSQL: "Shutting Down the Server": fast
    killSignal: 'SIGQUIT', // and immediate, which ends the children too
    temporaryDir: options.isTemporary === false ? null : options.dir,
    outlivesUs: options.outlivesUs === true,
  });
  const url = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`;
  const version = await waitUntilReady(server, url);
  return {
    url,
    port,
    version,
    binDir,
    logFile: server.logFile,
    stop: () => server.stop(),
    restart: (how) => server.restart(how),
  };
}

async function initialiseCluster(
  binDir: string,
  dir: string,
  user: SystemUser | null,
  password: string,
): Promise<void> {
  mkdirSync(dir, { recursive: true });
  if (user !== null) chownSync(dir, user.uid, user.gid);
  if (!canReach(user, dir)) {
    throw new RestageError(
      'component_missing',
      `PostgreSQL has to run as ${user?.name ?? 'another user'}, who cannot reach its folder`,
      {
        where: dir,
        fix: 'choose a folder that every user may enter',
      },
    );
  }
  const passwordFile = join(dir, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (user !== null) chownSync(passwordFile, user.uid, user.gid);
  const args = [
    '-D',
    join(dir, 'data'),
    '-U',
    'postgres',
    '--auth=scram-sha-256',
    `--pwfile=${passwordFile}`,
    '--encoding=UTF8',
    '--locale=C',
    '--no-sync',
    '--no-instructions',
  ];
  try {
    await run(join(binDir, 'initdb'), args, {
      cwd: '/',
      env: { PATH: process.env['PATH'] },
      ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
    });
  } catch (cause) {
    throw new RestageError(
      'component_missing',
      `initdb failed: ${cause instanceof Error ? cause.message : String(cause)}`,
      { where: dir, cause },
    );
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

async function waitUntilReady(server: ServerProcess, url: string): Promise<string> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    const version = await askVersion(url);
    if (version !== null) return version;
    if (!server.isRunning()) break;
    await sleep(50);
  }
  const tail = readTail(server.logFile);
  await server.stop();
  throw new RestageError('component_missing', `PostgreSQL did not become ready: ${tail}`, { where: server.logFile });
}

/** null while it does not answer. */
export async function askVersion(url: string): Promise<string | null> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
    return rows[0]?.server_version ?? null;
  } catch {
    return null;
  } finally {
    await client.end().catch(() => undefined);
  }
}
