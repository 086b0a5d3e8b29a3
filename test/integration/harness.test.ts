import pg from 'pg';
import { expect, test } from 'vitest';
import { createDatabase } from '../harness/database.ts';
import { testPostgres } from '../harness/servers.ts';

test.each([15, 18] as const)(
  'PostgreSQL %i is ready for logical replication, and a database leaves no slot behind',
  async (version) => {
    let name = '';
    {
      await using database = await createDatabase(version);
      name = database.name;
      await database.client.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [name]);
      const { rows } = await database.client.query('SHOW wal_level');
      expect(rows).toEqual([{ wal_level: 'logical' }]);
    }
    const admin = new pg.Client({ connectionString: testPostgres(version) });
    await admin.connect();
    const left = await admin.query(
      'SELECT 1 FROM pg_database WHERE datname = $1 UNION ALL SELECT 1 FROM pg_replication_slots WHERE slot_name = $1',
      [name],
    );
    await admin.end();
    expect(left.rowCount).toBe(0);
  },
);
