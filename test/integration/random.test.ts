import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { randomRows, randomTables, randomTransaction, type RandomTable } from '../corpus/random-program.ts';
import { startCli, type CliProcess } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

/** The seed also chooses the versions. RESTAGE_SEED repeats a run, RESTAGE_RANDOM_ROUNDS makes it longer. */
const SEED = Number(process.env['RESTAGE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const ROUNDS = Number(process.env['RESTAGE_RANDOM_ROUNDS'] ?? 12);
const TRANSACTIONS_A_ROUND = 100;
const TABLES = 12;
/** Constraints, and ON CONFLICT over a deferrable one. */
const REFUSED = /^(?:23|55000)/;
const LIMIT_MS = 60_000 + ROUNDS * 20_000;

test(
  'whatever is done to whatever tables, both ends are equal after it',
  async () => {
    const [version, schema] = SEED % 2 === 0 ? ([15, 'copy'] as const) : ([18, 'create'] as const);
    await using source = await createDatabase(version, 'random_source');
    await using target = await createDatabase(version, 'random_target');
    const tables = randomTables(SEED, TABLES);
    for (const [index, table] of tables.entries()) {
      await source.client.query(table.ddl);
      await attempt(source.client, randomRows(table, SEED + index));
    }
    const folder = await mkdtemp(path.join(tmpdir(), 'restage-random-'));
    const config = path.join(folder, 'restage.yaml');
    await writeFile(
      config,
      `name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: ${schema} }]
`,
    );
    await using pipeline = startCli(['run', '-c', config]);
    try {
      let refused = 0;
      for (let round = 0; round < ROUNDS; round += 1) {
        refused += await runRound(source.client, tables, round);
        await awaitTarget(source, target, pipeline, round);
        const differences = await findDifferences(source.url, target.url);
        expect(differences, `RESTAGE_SEED=${SEED}, round ${round}`).toEqual([]);
      }
      expect(refused, `RESTAGE_SEED=${SEED}: hardly a statement was accepted`).toBeLessThan(
        ROUNDS * TRANSACTIONS_A_ROUND * 4,
      );
      expect(await pipeline.drain()).toMatchObject({ code: 0 });
    } finally {
      await pipeline.drain();
      await rm(folder, { recursive: true, force: true });
    }
  },
  LIMIT_MS,
);

/** How many statements the source refused: each in a savepoint of its own. */
async function runRound(client: pg.Client, tables: readonly RandomTable[], round: number): Promise<number> {
  let refused = 0;
  for (let index = 0; index < TRANSACTIONS_A_ROUND; index += 1) {
    const { statements, end } = randomTransaction(tables, SEED, round * TRANSACTIONS_A_ROUND + index);
    await client.query('BEGIN');
    for (const statement of statements) {
      await client.query('SAVEPOINT one');
      if (await attempt(client, statement)) continue;
      refused += 1;
      await client.query('ROLLBACK TO one');
    }
    await client.query(end);
  }
  return refused;
}

async function attempt(client: pg.Client, sql: string): Promise<boolean> {
  try {
    await client.query(sql);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && REFUSED.test(String(error.code))) return false;
    throw new Error(`RESTAGE_SEED=${SEED}: ${sql}`, { cause: error });
  }
}

async function awaitTarget(
  source: TestDatabase,
  target: TestDatabase,
  pipeline: CliProcess,
  round: number,
): Promise<void> {
  const { rows } = await source.client.query<{ lsn: string }>(
    `SELECT pg_logical_emit_message(true, 'restage', 'random')::text AS lsn`,
  );
  await until(
    async () => {
      if (pipeline.hasEnded()) return true;
      const reached = await target.client.query(
        'SELECT FROM restage.checkpoint WHERE load_done AND through > $1::pg_lsn',
        [rows[0]?.lsn],
      );
      return reached.rowCount === 1;
    },
    { what: `round ${round} of RESTAGE_SEED=${SEED} at the target`, timeoutMs: 60_000 },
  );
  expect(pipeline.hasEnded(), `RESTAGE_SEED=${SEED}, round ${round}\n${pipeline.stdout()}${pipeline.stderr()}`).toBe(
    false,
  );
}
