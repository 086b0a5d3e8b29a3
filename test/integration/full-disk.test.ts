import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { expect, test } from 'vitest';
import { Infrastructure } from '#infra/infrastructure.ts';
import { askVersion } from '#infra/providers/postgres-process.ts';
import { unprivilegedUser } from '#infra/system-user.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { createDatabase } from '../harness/database.ts';
import { servicesOf } from '../harness/service-processes.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const run = promisify(execFile);
/** Only root may mount a disk of its own. */
const canMount = process.getuid?.() === 0 && process.platform === 'linux';
const TABLES = `CREATE TABLE public.big (id bigint PRIMARY KEY, v text); ALTER TABLE public.big ALTER v SET STORAGE EXTERNAL;
  INSERT INTO public.big SELECT i, 'first' FROM generate_series(1, 100) i`;

/** A file system of so many MiB in memory, really full when it is. */
class SmallDisk implements AsyncDisposable {
  readonly dir: string;

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async mount(dir: string, mebibytes: number): Promise<SmallDisk> {
    await mkdir(dir, { recursive: true });
    const user = unprivilegedUser();
    const owner = user === null ? '' : `,uid=${user.uid},gid=${user.gid}`;
    await run('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=755${owner}`, 'tmpfs', dir]);
    return new SmallDisk(dir);
  }

  async grow(mebibytes: number): Promise<void> {
    await run('mount', ['-o', `remount,size=${mebibytes}m`, this.dir]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('umount', ['-l', this.dir]);
  }
}

async function query(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end().catch(() => undefined);
  }
}

function fill(from: number, mebibytes: number): string {
  return `INSERT INTO public.big SELECT ${from} + i, (SELECT string_agg(md5((i * 1000 + j)::text), '') FROM generate_series(1, 1024) j)
            FROM generate_series(1, ${mebibytes * 32}) i`;
}

async function configOf(dir: string, name: string, kafka: string, source: string, target: string): Promise<string> {
  const file = path.join(dir, `${name}.yaml`);
  await writeFile(
    file,
    `name: ${name}
kafka: { brokers: ["${kafka}"] }
source: { postgres: { url: "${source}" }, heartbeatMs: 500 }
transform: { outputs: [{ name: main }] }
targets: [{ name: new, postgres: { url: "${target}" }, schema: create }]
http: { port: 0 }
`,
  );
  return file;
}

async function arrive(file: string, service: CliProcess): Promise<void> {
  const waited = await runCli(['wait', '-c', file, '--target', 'new', '--timeout', '90'], {}, 120_000);
  expect(waited, waited.stderr + service.stderr()).toMatchObject({ code: 0 });
}

test.runIf(canMount)(
  'a target that is full or takes no writes, and services without file descriptors, are tried again; nothing is missing in the end',
  async () => {
    await using source = await createDatabase(15, 'full_source');
    await using target = await createDatabase(15, 'full_target');
    const dir = await mkdtemp(path.join(tmpdir(), 'restage-full-'));
    await chmod(dir, 0o755);
    const disk = await SmallDisk.mount(path.join(dir, 'small'), 8);
    try {
      await target.client.query(`CREATE TABLESPACE ${target.name} LOCATION '${disk.dir}'`);
      await target.client.query(`ALTER DATABASE ${target.name} SET default_tablespace = ${target.name}`);
      await source.client.query(TABLES);
      const file = await configOf(dir, source.name.replaceAll('_', '-'), testKafka(), source.url, target.url);
      await using service = startCli(['run', '-c', file]);
      await arrive(file, service);

      await source.client.query(fill(1000, 16));
      await service.output(/53100.*No space left on device/);
      expect((await target.client.query('SELECT FROM public.big')).rowCount).toBe(100);
      await disk.grow(100);
      await arrive(file, service);
      expect(await findDifferences(source.url, target.url)).toEqual([]);

      const pids = (await servicesOf(service.pid, file)).map(({ pid }) => pid);
      expect(pids).toHaveLength(3);
      // Of what they have open nothing is taken away; nothing can be opened.
      for (const pid of pids) await limitFiles(pid, 12);
      for (const database of [source, target])
        await database.client.query(
          'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
        );
      await service.output(/source_unreachable.*EMFILE/);
      await service.output(/target_unreachable.*EMFILE/);
      await source.client.query('DELETE FROM public.big WHERE id < 50');
      for (const pid of pids) await limitFiles(pid, 1024);
      await arrive(file, service);
      expect(await findDifferences(source.url, target.url)).toEqual([]);

      // As after a failover to a server that is not promoted yet.
      await target.client.query(`ALTER DATABASE ${target.name} SET default_transaction_read_only = on`);
      await target.client.query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
      );
      await source.client.query('DELETE FROM public.big WHERE id < 60');
      await service.output(/25006.*read-only/);
      await target.client.query(`ALTER DATABASE ${target.name} RESET default_transaction_read_only`);
      await arrive(file, service);
      expect(await findDifferences(source.url, target.url)).toEqual([]);
      expect((await servicesOf(service.pid, file)).map(({ pid }) => pid)).toEqual(pids);
      expect(await service.drain()).toMatchObject({ code: 0 });
    } finally {
      await target[Symbol.asyncDispose]();
      await query(source.url, `DROP TABLESPACE ${target.name}`);
      await disk[Symbol.asyncDispose]();
      await rm(dir, { recursive: true });
    }
  },
  300_000,
);

/** For every new one; those that are open stay. */
async function limitFiles(pid: number, most: number): Promise<void> {
  const open = await readdir(`/proc/${pid}/fd`);
  expect(open.length).toBeGreaterThan(12);
  await run('prlimit', ['--pid', String(pid), `--nofile=${most}:`]);
}

test.runIf(canMount && isLongRun())(
  'a broker and a source whose disks are full, with room and started again: nothing is missing',
  async () => {
    await using target = await createDatabase(15, 'full_target');
    const infrastructure = await Infrastructure.open({ say: () => undefined, durable: false });
    const disks = {
      kafka: await SmallDisk.mount(path.join(infrastructure.dir, 'kafka'), 40),
      source: await SmallDisk.mount(path.join(infrastructure.dir, 'full'), 300),
    };
    const dir = await mkdtemp(path.join(tmpdir(), 'restage-full-'));
    try {
      const [kafka, source] = await Promise.all([
        infrastructure.startKafka({ settings: { 'log.index.size.max.bytes': '65536' } }),
        infrastructure.startPostgres({
          name: 'full',
          from: 'machine',
          major: 15,
          settings: { synchronous_commit: 'on', max_wal_size: '64MB' },
        }),
      ]);
      await query(source.url, TABLES);
      const file = await configOf(dir, `full-${process.pid}`, kafka.brokers, source.url, target.url);
      await using service = startCli(['run', '-c', file]);
      await arrive(file, service);

      await query(source.url, fill(1000, 40));
      await query(source.url, fill(10_000, 40));
      await service.output(/kafka_(unreachable|fault)/);
      await disks.kafka.grow(900);
      await kafka.restart?.('crash');
      await arrive(file, service);
      expect(await findDifferences(source.url, target.url)).toEqual([]);

      // Until the WAL has no room: the server ends itself.
      const filled = async (): Promise<boolean> => {
        try {
          for (let at = 1; at < 50; at += 1) await query(source.url, fill(100_000 * at, 4));
          return false;
        } catch {
          return true;
        }
      };
      expect(await filled()).toBe(true);
      await service.output(/source_unreachable|57P0|08006|terminated/);
      await disks.source.grow(1500);
      await source.restart?.('crash');
      await until(async () => (await askVersion(source.url)) !== null, {
        what: 'the source to answer',
        timeoutMs: 60_000,
      });
      await query(source.url, `INSERT INTO public.big VALUES (-1, 'after')`);
      await arrive(file, service);
      expect(await findDifferences(source.url, target.url)).toEqual([]);
      expect(await service.drain()).toMatchObject({ code: 0 });
    } finally {
      await infrastructure.stop();
      for (const disk of Object.values(disks)) await disk[Symbol.asyncDispose]();
      await rm(infrastructure.dir, { recursive: true, force: true });
      await rm(dir, { recursive: true });
    }
  },
  600_000,
);
