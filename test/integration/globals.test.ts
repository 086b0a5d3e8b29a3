import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { quoteIdentifier } from '#core/table-name.ts';
import { readAudit } from '../harness/audit.ts';
import { runCli } from '../harness/cli.ts';
import { createDatabase } from '../harness/database.ts';

interface Answer {
  readonly done: boolean;
  readonly statements: readonly { readonly kind: string; readonly role: string; readonly sql: string }[];
  readonly failed: readonly unknown[];
}

test('roles, memberships, settings and grants come along, through the rules; a dry run changes nothing, and no password is shown', async () => {
  await using source = await createDatabase(15, 'globals_source');
  await using target = await createDatabase(18, 'globals_target');
  const app = `${source.name}_app`;
  const group = `${source.name} group`;
  const tables = 'CREATE TABLE public.orders (id int PRIMARY KEY, cust int);';
  await source.client.query(`${tables}
    CREATE ROLE ${quoteIdentifier(app)} LOGIN PASSWORD 'very secret'; CREATE ROLE ${quoteIdentifier(group)};
    GRANT ${quoteIdentifier(group)} TO ${quoteIdentifier(app)}; ALTER ROLE ${quoteIdentifier(app)} SET statement_timeout TO '7s';
    GRANT SELECT ON public.orders TO ${quoteIdentifier(group)} WITH GRANT OPTION; GRANT UPDATE (cust) ON public.orders TO ${quoteIdentifier(app)};
    ALTER DATABASE ${quoteIdentifier(source.name)} SET work_mem TO '9MB';
    ALTER ROLE ${quoteIdentifier(app)} IN DATABASE ${quoteIdentifier(source.name)} SET search_path TO "$user", public`);
  await target.client.query('CREATE TABLE public.sales (id int PRIMARY KEY, customer int)');
  const folder = await mkdtemp(path.join(tmpdir(), 'restage-globals-'));
  const config = path.join(folder, 'restage.yaml');
  await writeFile(
    config,
    `
name: globals
kafka: { brokers: ["127.0.0.1:1"] }
source: { postgres: { url: "${source.url}" } }
transform:
  outputs: [{ name: main, rules: [{ table: public.orders, rename: public.sales, columns: { rename: { cust: customer } } }] }]
targets: [{ name: new, postgres: { url: "${target.url}" } }]
`,
  );
  const globals = async (...more: string[]): Promise<Answer> => {
    const run = await runCli(['globals', '-c', config, '--target', 'new', '--json', ...more]);
    expect(run, run.stderr).toMatchObject({ code: 0 });
    expect(run.stdout + run.stderr).not.toMatch(/very secret|SCRAM-SHA-256/);
    return JSON.parse(run.stdout) as Answer;
  };
  const asked = async (sql: string): Promise<unknown[]> => (await target.client.query(sql, [app])).rows;
  const role = 'SELECT rolcanlogin AS login, rolpassword LIKE $$SCRAM%$$ AS kept FROM pg_authid WHERE rolname = $1';
  try {
    const dry = await globals('--with-passwords', '--dry-run');
    expect(dry.done).toBe(false);
    expect(await asked(role)).toEqual([]);

    const done = await globals('--with-passwords', '--yes');
    expect(done.failed).toEqual([]);
    expect(done.statements.map(({ sql }) => sql).join('\n')).toContain(`PASSWORD '***'`);
    expect(await asked(role)).toEqual([{ login: true, kept: true }]);
    const may = `SELECT has_table_privilege($1, 'public.sales', 'SELECT') AS read, has_column_privilege($1, 'public.sales', 'customer', 'UPDATE') AS write,
                        has_table_privilege($1, 'public.sales', 'DELETE') AS remove`;
    // What was only shown is no action.
    expect(await readAudit(target, 'globals')).toEqual([expect.stringMatching(/^globals /)]);
    expect(await asked(may)).toEqual([{ read: true, write: true, remove: false }]);
    const settings = `SELECT array_to_string(setconfig, '|') AS set FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
                       WHERE r.rolname = $1 OR (setrole = 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())) ORDER BY 1`;
    expect(await asked(settings)).toEqual([
      { set: 'search_path="$user", public' },
      { set: 'statement_timeout=7s' },
      { set: 'work_mem=9MB' },
    ]);
    // Again: nothing of the role is touched, and what may be said twice is.
    const again = await globals('--yes');
    expect(
      again.statements.filter(({ role: of, kind }) => of === app && kind !== 'grant').map(({ kind }) => kind),
    ).toEqual(['membership', 'database']);
  } finally {
    const names = [app, group].map(quoteIdentifier);
    for (const { client } of [source, target])
      for (const name of names)
        await client.query(`DROP OWNED BY ${name}`).then(
          () => client.query(`DROP ROLE ${name}`),
          () => undefined,
        );
    await rm(folder, { recursive: true, force: true });
  }
}, 120_000);
