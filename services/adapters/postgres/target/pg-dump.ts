import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { RestageError } from '#core/errors.ts';
import { startupOptions } from '../session.ts';

/** A directory that holds pg_dump and pg_restore of one major version. */
export interface PgTools {
  readonly directory: string;
  readonly major: number;
}

const VERSIONED_ROOTS = [
  { root: '/usr/lib/postgresql', bin: (entry: string) => join(entry, 'bin') },
  { root: '/usr', bin: (entry: string) => (entry.startsWith('pgsql-') ? join(entry, 'bin') : null) },
  { root: '/opt/homebrew/opt', bin: (entry: string) => (entry.startsWith('postgresql@') ? join(entry, 'bin') : null) },
] as const;
const STDERR_KEPT = 4_000;

/**
 * The oldest pg_dump that can read the source: one older than the server refuses to work (PostgreSQL: "pg_dump", Notes).
 * @throws RestageError schema_tool that names the version needed and how to get it.
 */
export async function findPgTools(sourceMajor: number, environment: NodeJS.ProcessEnv = process.env): Promise<PgTools> {
  const found: PgTools[] = [];
  for (const directory of await candidateDirectories(environment)) {
    const [dump, restore] = await Promise.all([
      majorOf(join(directory, 'pg_dump')),
      majorOf(join(directory, 'pg_restore')),
    ]);
    if (dump !== null && restore !== null && restore >= dump) found.push({ directory, major: dump });
  }
  const fitting = found.filter((tools) => tools.major >= sourceMajor).toSorted((a, b) => a.major - b.major)[0];
  if (fitting !== undefined) return fitting;
  const have = found.length === 0 ? 'none was found' : `found: ${found.map((tools) => tools.major).join(', ')}`;
  throw new RestageError(
    'schema_tool',
    `copying the structure needs pg_dump and pg_restore ${sourceMajor} or newer; ${have}`,
    {
      fix:
        `apt-get install postgresql-client-${sourceMajor} (or dnf install postgresql${sourceMajor}, brew install postgresql@${sourceMajor}), ` +
        'or set schema: create for the target',
    },
  );
}

/** The structure of a database in pg_dump's custom format. The password travels in the environment, never in argv. */
export async function dumpStructure(tools: PgTools, url: string): Promise<Buffer> {
  return withDirectory(async (directory) => {
    const file = join(directory, 'structure.dump');
    const connection = splitPassword(url);
    await run(
      join(tools.directory, 'pg_dump'),
      [
        '-Fc',
        // Else the database's own default, which may not hold every name.
        '--encoding=UTF8',
        '--schema-only',
        '--no-owner',
        '--no-privileges',
        '--no-publications',
        '--no-subscriptions',
        '--no-tablespaces',
        '--exclude-schema=restage',
        '--lock-wait-timeout=60000',
        '--no-password',
        '--file',
        file,
        '--dbname',
        connection.url,
      ],
      connection.password === null ? {} : { PGPASSWORD: connection.password },
    );
    return readFile(file);
  });
}

/** What all databases of a server share: roles with their settings and memberships. Passwords take a superuser. @throws RestageError schema_tool. */
export async function dumpGlobals(tools: PgTools, url: string, withPasswords: boolean): Promise<string> {
  const connection = splitPassword(url);
  const database = new URL(connection.url).pathname.slice(1);
  return run(
    join(tools.directory, 'pg_dumpall'),
    [
      '--globals-only',
      '--no-tablespaces',
      '--no-password',
      ...(withPasswords ? [] : ['--no-role-passwords']),
      ...(database === '' ? [] : ['--database', decodeURIComponent(database)]),
      '--dbname',
      connection.url,
    ],
    connection.password === null ? {} : { PGPASSWORD: connection.password },
  );
}

/** The archive's table of contents with what each entry depends on (`pg_restore --list --verbose`). */
export async function listArchive(tools: PgTools, archive: Buffer): Promise<string> {
  return withDirectory(async (directory) => {
    const file = join(directory, 'structure.dump');
    await writeFile(file, archive, { mode: 0o600 });
    return run(join(tools.directory, 'pg_restore'), ['--list', '--verbose', file], {});
  });
}

/**
 * The SQL of the listed entries, in the archive's order. Without psql's own commands and without settings that an older
 * target does not know, so that it runs in a transaction of ours.
 */
export async function archiveSql(tools: PgTools, archive: Buffer, list: string): Promise<string> {
  return withDirectory(async (directory) => {
    const file = join(directory, 'structure.dump');
    const listFile = join(directory, 'structure.list');
    await writeFile(file, archive, { mode: 0o600 });
    await writeFile(listFile, list, { mode: 0o600 });
    const sql = await run(
      join(tools.directory, 'pg_restore'),
      ['--no-owner', '--no-privileges', '--use-list', listFile, '--file', '-', file],
      {},
    );
    return sql.replaceAll(/^\\(?:un)?restrict [A-Za-z0-9]+$/gm, '').replace(/^SET transaction_timeout = 0;$/m, '');
  });
}

/** Everything of one database into another, an empty one, through a pipe: nothing is kept on disk between. @throws RestageError schema_tool. */
export async function copyDatabase(tools: PgTools, from: string, to: string): Promise<void> {
  const [source, target] = [splitPassword(from), splitPassword(to)];
  const dump = spawnTool(
    join(tools.directory, 'pg_dump'),
    ['-Fc', '--encoding=UTF8', '--no-publications', '--no-subscriptions', '--no-password', '--dbname', source.url],
    source.password,
  );
  const restore = spawnTool(
    join(tools.directory, 'pg_restore'),
    ['--exit-on-error', '--no-owner', '--no-password', '--dbname', target.url],
    target.password,
  );
  // Either end's death shows in its own exit code.
  await Promise.all([
    pipeline(dump.child.stdout, restore.child.stdin).catch(() => undefined),
    dump.ended,
    restore.ended,
  ]);
}

function spawnTool(
  program: string,
  args: readonly string[],
  password: string | null,
): { readonly child: ChildProcessWithoutNullStreams; readonly ended: Promise<void> } {
  const child = spawn(program, args, {
    env: { ...process.env, LC_ALL: 'C', ...(password === null ? {} : { PGPASSWORD: password }) },
  });
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => (complaint = (complaint + data.toString()).slice(-STDERR_KEPT)));
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', (cause) => reject(new RestageError('schema_tool', `${program} does not start`, { cause })));
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new RestageError('schema_tool', `${program} failed: ${complaint.trim()}`));
    });
  });
  return { child, ended };
}

async function candidateDirectories(environment: NodeJS.ProcessEnv): Promise<string[]> {
  const directories: string[] = [];
  for (const { root, bin } of VERSIONED_ROOTS) {
    for (const entry of await readdir(root).catch(() => [])) {
      const path = bin(entry);
      if (path !== null) directories.push(join(root, path));
    }
  }
  // Debian's /usr/bin/pg_dump is a wrapper that chooses a version by itself: the versioned ones come first.
  return [...new Set([...directories, ...(environment['PATH'] ?? '').split(delimiter).filter((path) => path !== '')])];
}

async function majorOf(program: string): Promise<number | null> {
  try {
    const major = /\(PostgreSQL\) (\d+)/.exec(await run(program, ['--version'], {}))?.[1];
    return major === undefined ? null : Number(major);
  } catch {
    return null;
  }
}

/** With the pinned settings: literals in the dump are read back in a session that has them (money, standard_conforming_strings). */
function splitPassword(url: string): { readonly url: string; readonly password: string | null } {
  const parsed = new URL(url);
  const password =
    parsed.searchParams.get('password') ?? (parsed.password === '' ? null : decodeURIComponent(parsed.password));
  parsed.password = '';
  parsed.searchParams.delete('password');
  if (parsed.searchParams.get('sslmode') === 'no-verify') parsed.searchParams.set('sslmode', 'require');
  parsed.searchParams.set('options', `${parsed.searchParams.get('options') ?? ''} ${startupOptions()}`);
  // libpq knows a space in a URL as %20 only.
  parsed.search = parsed.search.replaceAll('+', '%20');
  return { url: parsed.href, password };
}

async function withDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'restage-'));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What libpq says of a server that went away, in LC_ALL=C: nothing is wrong with the structure. */
const LOST_CONNECTION =
  /server closed the connection unexpectedly|could not receive data from server|terminating connection due to|database system is (?:starting up|shutting down)|Connection refused|EOF detected/;

function run(program: string, args: readonly string[], secrets: Readonly<Record<string, string>>): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { ...process.env, LC_ALL: 'C', ...secrets },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output: Buffer[] = [];
    let complaint = '';
    child.stdout.on('data', (data: Buffer) => output.push(data));
    child.stderr.on('data', (data: Buffer) => (complaint = (complaint + data.toString()).slice(-STDERR_KEPT)));
    child.on('error', (cause) => reject(new RestageError('schema_tool', `${program} does not start`, { cause })));
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(output).toString('utf8'));
      else
        reject(
          new RestageError(
            LOST_CONNECTION.test(complaint) ? 'transient' : 'schema_tool',
            `${program} failed: ${complaint.trim()}`,
            { fix: 'mend what the message names, then start again' },
          ),
        );
    });
  });
}
