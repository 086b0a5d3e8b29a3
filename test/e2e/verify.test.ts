import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { expect, test } from 'vitest';
import type { VerifyReport } from '#core/verify/verify-report.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase } from '../harness/database.ts';
import { pgbench } from '../harness/pgbench.ts';
import { testKafka } from '../harness/servers.ts';

/** Rows that pgbench never touches, so that no later change heals a fault; the hot rows of every other table are verified beside them. */
const STILL_SQL = `
  CREATE TABLE public.still (id int PRIMARY KEY, code char(8), amount numeric(14,4), at timestamptz, doc jsonb, list int[], note text);
  INSERT INTO public.still
    SELECT g, 'c' || g, g * 1.5, '2026-01-01Z'::timestamptz + g * interval '1 s', jsonb_build_object('n', g), ARRAY[g, g + 1], 'note ' || g
      FROM generate_series(1, 5000) g;
  CREATE TABLE public.restless (id int PRIMARY KEY, n bigint NOT NULL);
  INSERT INTO public.restless VALUES (1, 0);
`;
const ATTEMPTS = 10;
/** No two reads see the same version of this row. */
const RESTLESS_SQL = `
  DO $$ BEGIN LOOP
    UPDATE public.restless SET n = n + 1;
    COMMIT;
    PERFORM pg_sleep(0.001);
  END LOOP; END $$`;
const COLUMNS = ['amount', 'at', 'doc', 'list', 'note'] as const;
const FAULTS: Readonly<Record<(typeof COLUMNS)[number], string>> = {
  amount: 'amount + 0.0001',
  at: `at + interval '1 microsecond'`,
  doc: `jsonb_set(doc, '{n}', '"0"')`,
  list: 'list[1:1]',
  note: `note || ' '`,
};

test.runIf(isLongRun())(
  'while pgbench runs, hot rows are settled at one LSN, and 20 planted faults are found and none that is not there',
  async () => {
    await using source = await createDatabase(15, 'verified_source');
    await using target = await createDatabase(15, 'verified_target');
    await pgbench(source.url, ['-i', '-s', '1', '-q']).ended;
    await source.client.query(STILL_SQL);
    const folder = await mkdtemp(path.join(tmpdir(), 'restage-verify-'));
    const config = path.join(folder, 'restage.yaml');
    await writeFile(
      config,
      `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: copy }]
`,
    );
    await using run = startCli(['run', '-c', config]);
    try {
      await using load = pgbench(source.url, ['-c', '4', '-T', '600', '-R', '200', '-n']);
      const writer = new pg.Client({ connectionString: source.url });
      writer.on('error', () => undefined);
      await writer.connect();
      const { pid } = (await writer.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0] ?? { pid: 0 };
      const written = writer.query(RESTLESS_SQL).catch((error: unknown) => error);
      expect(await runCli(['wait', '-c', config, '--target', 'new']), run.stderr()).toMatchObject({ code: 0 });

      // Now and then even these rows rest for a moment, and nobody has to be held.
      let hasHeld = false;
      for (let attempt = 1; attempt <= ATTEMPTS && !hasHeld; attempt += 1) {
        const clean = await verify(config);
        expect(shortOf(clean.report)).toEqual({ different: [], unverified: [], verdict: 'equal' });
        expect(clean.cli.code).toBe(0);
        hasHeld = clean.cli.stderr.includes('holding the sink');
      }
      expect(hasHeld, 'no row was restless enough to hold the sink for').toBe(true);

      const planted = Array.from({ length: 20 }, (_, n) => ({ id: 7 + 241 * n, column: COLUMNS[n % 5] ?? 'note' }));
      for (const { id, column } of planted)
        await target.client.query(`UPDATE public.still SET ${column} = ${FAULTS[column]} WHERE id = ${id}`);
      const spoilt = await verify(config);
      expect(shortOf(spoilt.report)).toEqual({
        different: planted.map(({ id, column }) => `still ${id} changed ${column}`).toSorted(),
        unverified: [],
        verdict: 'different',
      });
      expect(spoilt.cli.code).toBe(1);
      await source.client.query('SELECT pg_cancel_backend($1)', [pid]);
      expect(await written).toMatchObject({ code: '57014' });
      await writer.end();
      await load[Symbol.asyncDispose]();
      run.kill('SIGTERM');
      expect(await run.result(12_000)).toMatchObject({ code: 0 });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
  180_000,
);

async function verify(
  config: string,
): Promise<{ readonly cli: Awaited<ReturnType<CliProcess['result']>>; readonly report: VerifyReport }> {
  const cli = await runCli(['verify', '-c', config, '--target', 'new', '--json']);
  return { cli, report: JSON.parse(cli.stdout) as VerifyReport };
}

function shortOf(report: VerifyReport): { different: string[]; unverified: string[]; verdict: string } {
  return {
    different: report.tables
      .flatMap(({ targetTable, different }) =>
        different.map(
          ({ key, kind, columns }) => `${targetTable.table} ${key['id'] ?? ''} ${kind} ${columns.join(',')}`,
        ),
      )
      .toSorted(),
    unverified: report.tables.flatMap(({ targetTable, unverified }) =>
      unverified.map(({ key, reason }) => `${targetTable.table} ${JSON.stringify(key)}: ${reason}`),
    ),
    verdict: report.verdict,
  };
}
