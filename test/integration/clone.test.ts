import pg from 'pg';
import { expect, test } from 'vitest';
import { dropClone } from '#adapters/postgres/clone/clone-database.ts';
import { TemplateClone } from '#adapters/postgres/clone/template-clone.ts';
import { createDatabase } from '../harness/database.ts';
import { until } from '../harness/until.ts';

/** A worker is at it for as long as anybody waits. */
const SLOW_VACUUM = `CREATE TABLE public.t WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1) AS SELECT n FROM generate_series(1, 50000) n;
  DELETE FROM public.t`;

test('a clone that autovacuum works in is dropped by a role that may not end its worker, with the sessions of its own', async () => {
  await using database = await createDatabase(15, 'clone_of');
  const { client, name } = database;
  const [role, clone] = [`${name}_role`, `${name}_clone`];
  await client.query(
    `CREATE ROLE ${role} LOGIN CREATEDB PASSWORD 'clones'; GRANT CONNECT ON DATABASE ${name} TO ${role}`,
  );
  const session = async (connectionString: string): Promise<pg.Client> => {
    const one = new pg.Client({ connectionString });
    one.on('error', () => undefined);
    await one.connect();
    return one;
  };
  const url = database.urlFor(role, 'clones');
  const owner = await session(url);
  try {
    const inClone = await session(await new TemplateClone(owner, url, null).create(clone));
    await inClone.query(SLOW_VACUUM);
    await client.query(`ALTER SYSTEM SET autovacuum_naptime = '1s'`);
    await client.query('SELECT pg_reload_conf()');
    // One that has nothing to do there is gone again by the next statement.
    const worker = `SELECT FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'autovacuum: VACUUM %public.t%'`;
    await until(async () => (await client.query(worker, [clone])).rowCount !== 0, {
      what: 'a worker of autovacuum at the slow table of the clone',
      timeoutMs: 60_000,
    });
    await expect(owner.query(`DROP DATABASE ${clone} WITH (FORCE)`)).rejects.toMatchObject({ code: '42501' });
    await dropClone(owner, clone);
    expect((await client.query('SELECT FROM pg_database WHERE datname = $1', [clone])).rowCount).toBe(0);
    await expect(inClone.query('SELECT 1')).rejects.toThrow();
  } finally {
    await owner.end();
    await client.query('ALTER SYSTEM RESET autovacuum_naptime');
    await client.query('SELECT pg_reload_conf()');
    await client.query(`DROP DATABASE IF EXISTS ${clone} WITH (FORCE)`);
    await client.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});
