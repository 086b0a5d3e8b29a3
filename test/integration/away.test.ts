import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { expect, test } from 'vitest';
import { StormServers } from '../harness/chaos/storm-servers.ts';
import { runCli, startCli } from '../harness/cli.ts';
import { createDatabase } from '../harness/database.ts';
import { servicesOf } from '../harness/service-processes.ts';
import { until } from '../harness/until.ts';

const MIB = 1024 * 1024;
const WRITTEN = 400 * MIB;
/** More than a process needs, less than it would take to keep what was written. */
const LARGEST_PROCESS = 380 * MIB;

/** The most memory that a process has had in RAM. */
function peakOf(pid: number): number {
  const [, kib = '0'] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

async function ask(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

test('Kafka away, then one of two targets: the source keeps what is missing, no process does, the other target goes on, and all is equal in the end', async () => {
  await using servers = await StormServers.open(1);
  await using near = await createDatabase(15, 'near');
  const folder = mkdtempSync(path.join(tmpdir(), 'restage-away-'));
  const file = path.join(folder, 'away.yaml');
  const { direct, linked, links } = servers;
  writeFileSync(
    file,
    `name: away
kafka: { brokers: ["${linked.brokers}"] }
source: { postgres: { url: "${linked.source}" }, tables: ["public.*"], heartbeatMs: 1000, walBudget: { bytes: ${100 * MIB} } }
transform:
  outputs:
    - { name: plain }
    - { name: renamed, rules: [{ table: public.big, rename: public.large }] }
targets:
  - { name: near, output: plain, postgres: { url: "${near.url}" }, schema: create }
  - { name: far, output: renamed, postgres: { url: "${linked.target}" }, schema: create }
`,
  );
  await ask(
    direct.source,
    'CREATE TABLE public.big (id int PRIMARY KEY, v text); ALTER TABLE public.big ALTER v SET STORAGE EXTERNAL',
  );
  await ask(direct.source, `INSERT INTO public.big VALUES (0, 'first')`);
  const figures = async (): Promise<{ state: string; retainedBytes: number }> => {
    const [row] = await ask(
      direct.source,
      `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 AS "retainedBytes", wal_status AS state FROM pg_replication_slots`,
    );
    return row as { state: string; retainedBytes: number };
  };
  const arrive = async (target: string): Promise<void> => {
    const waited = await runCli(['wait', '-c', file, '--target', target, '--timeout', '150'], {}, 170_000);
    expect(waited, waited.stderr).toMatchObject({ code: 0 });
  };
  try {
    await using run = startCli(['run', '-c', file]);
    await Promise.all([arrive('near'), arrive('far')]);
    const services = await servicesOf(run.pid, file);
    expect(services.map(({ service }) => service).toSorted()).toEqual(['producer', 'sink', 'sink', 'transformer']);

    links.kafka.spoil({ kind: 'blackHole' });
    links.target.spoil({ kind: 'blackHole' });
    await ask(
      direct.source,
      `DO $$ BEGIN FOR n IN 1..${WRITTEN / MIB} LOOP
         INSERT INTO public.big SELECT n * 100 + i, repeat(md5((n * 100 + i)::text), 32768 / 32) FROM generate_series(1, 32) i; COMMIT;
       END LOOP; END $$`,
    );
    await until(async () => (await figures()).retainedBytes > 100 * MIB, { what: 'the WAL kept by the slot' });
    await run.output(/keeps more WAL than source\.walBudget\.bytes/);

    links.kafka.mend();
    await arrive('near');
    expect(await ask(direct.target, 'SELECT count(*)::int AS n FROM public.large')).toEqual([{ n: 1 }]);

    links.target.mend();
    await arrive('far');
    const sum = 'SELECT count(*)::int AS n, md5(string_agg(id || md5(v), $$,$$ ORDER BY id)) AS sum FROM public.';
    const wanted = await ask(direct.source, `${sum}big`);
    expect(await ask(near.url, `${sum}big`)).toEqual(wanted);
    expect(await ask(direct.target, `${sum}large`)).toEqual(wanted);
    for (const { pid, service } of await servicesOf(run.pid, file))
      expect(peakOf(pid), `${service}: most memory`).toBeLessThan(LARGEST_PROCESS);
    expect((await servicesOf(run.pid, file)).map(({ pid }) => pid)).toEqual(services.map(({ pid }) => pid));
    await until(async () => (await figures()).retainedBytes < 100 * MIB, { what: 'the WAL let go' });
    expect(await run.drain()).toMatchObject({ code: 0 });
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 600_000);
