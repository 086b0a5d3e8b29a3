import type pg from 'pg';

/** Whether schema `restage` has nothing in it, or is not there. */
export async function isEmptySchema(client: pg.ClientBase): Promise<boolean> {
  const found = await client.query(
    `SELECT FROM pg_class WHERE relnamespace = to_regnamespace('restage')
     UNION ALL SELECT FROM pg_proc WHERE pronamespace = to_regnamespace('restage') LIMIT 1`,
  );
  return found.rowCount === 0;
}

/** Takes schema `restage` away where nothing is in it and the role may. */
export async function dropEmptySchema(client: pg.ClientBase): Promise<void> {
  if (!(await isEmptySchema(client))) return;
  const own = await client.query(
    `SELECT FROM pg_namespace WHERE nspname = 'restage' AND pg_has_role(nspowner, 'usage')`,
  );
  if (own.rowCount === 1) await client.query('DROP SCHEMA IF EXISTS restage');
}
