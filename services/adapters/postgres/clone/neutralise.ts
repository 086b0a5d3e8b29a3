import type pg from 'pg';
import { quoteIdentifier } from '#core/table-name.ts';

/**
 * Switches off what a clone would do by itself, as its original does: subscriptions, jobs of pg_cron, connections to other servers.
 * Returns what was switched off, by name.
 */
export async function neutralise(client: pg.ClientBase): Promise<string[]> {
  return [...(await endSubscriptions(client)), ...(await endJobs(client)), ...(await endConnections(client))];
}

/** Without its slot: that is the original's, at another server (PostgreSQL: "DROP SUBSCRIPTION", Notes). */
async function endSubscriptions(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    'SELECT subname AS name FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())',
  );
  for (const { name } of rows) {
    await client.query(`ALTER SUBSCRIPTION ${quoteIdentifier(name)} DISABLE`);
    await client.query(`ALTER SUBSCRIPTION ${quoteIdentifier(name)} SET (slot_name = NONE)`);
    await client.query(`DROP SUBSCRIPTION ${quoteIdentifier(name)}`);
  }
  return rows.map(({ name }) => `subscription ${name}`);
}

async function endJobs(client: pg.ClientBase): Promise<string[]> {
  const [table] = (await client.query<{ there: boolean }>("SELECT to_regclass('cron.job') IS NOT NULL AS there")).rows;
  if (table?.there !== true) return [];
  const { rows } = await client.query<{ name: string }>(
    'UPDATE cron.job SET active = false WHERE active RETURNING coalesce(jobname, jobid::text) AS name',
  );
  return rows.map(({ name }) => `job ${name}`);
}

/** Foreign tables and dblink lose the way to log in: a trial must not write elsewhere. */
async function endConnections(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ server: string; role: string }>(
    'SELECT srvname AS server, usename AS role FROM pg_user_mappings ORDER BY 1, 2',
  );
  for (const { server, role } of rows)
    await client.query(
      `DROP USER MAPPING FOR ${role === 'public' ? 'PUBLIC' : quoteIdentifier(role)} SERVER ${quoteIdentifier(server)}`,
    );
  return rows.map(({ server, role }) => `login of ${role} at ${server}`);
}
