import { expect, test } from 'vitest';
import { readTables } from '#adapters/postgres/catalog.ts';
import { ensurePublication } from '#adapters/postgres/source/publication.ts';
import { createDatabase } from '../harness/database.ts';

const TABLES_SQL = `
  CREATE TABLE public.plain (id int4 PRIMARY KEY, t text, g int4 GENERATED ALWAYS AS (id + 1) STORED);
  ALTER TABLE public.plain REPLICA IDENTITY FULL;
  CREATE TABLE public.root (id int4 PRIMARY KEY) PARTITION BY HASH (id);
  CREATE TABLE public.leaf PARTITION OF public.root FOR VALUES WITH (MODULUS 1, REMAINDER 0);
`;

const GIVEN = { name: 'given', pipeline: 'p', isFirst: true };

test.each([
  ['whole', 'FOR TABLE ONLY public.plain, ONLY public.leaf', null],
  ['rows', 'FOR TABLE public.leaf, public.plain WHERE (id > 1)', 'leaves out rows or columns of 1'],
  ['columns', 'FOR TABLE public.leaf, public.plain (id)', 'leaves out rows or columns of 1'],
  ['leaves', 'FOR TABLE public.plain', 'does not cover 1'],
  ['root', 'FOR ALL TABLES WITH (publish_via_partition_root)', 'does not cover 1'],
])('a publication that leaves out %s never passes as a whole one', async (_, definition, problem) => {
  await using database = await createDatabase(15, 'publication');
  await database.client.query(TABLES_SQL);
  await database.client.query(`CREATE PUBLICATION given ${definition}`);
  const tables = await readTables(database.client, 'p');
  const ensured = ensurePublication(database.client, tables, GIVEN);
  if (problem === null) await expect(ensured).resolves.toEqual({ isMade: false, tables });
  else await expect(ensured).rejects.toThrow(problem);
});

test('the source takes UPDATE and DELETE of generated columns in the old row, or the publication is refused', async () => {
  await using database = await createDatabase(18, 'publication');
  await database.client.query(TABLES_SQL);
  const tables = await readTables(database.client, 'p');
  await database.client.query('CREATE PUBLICATION given FOR TABLE public.plain, public.leaf');
  await expect(ensurePublication(database.client, tables, GIVEN)).rejects.toThrow('refuse UPDATE and DELETE of 1');
  await database.client.query('DROP PUBLICATION given; INSERT INTO public.plain VALUES (1), (2)');
  await expect(ensurePublication(database.client, tables, GIVEN)).resolves.toEqual({ isMade: true, tables });
  const changed = await database.client.query('UPDATE public.plain SET t = $1', ['new']);
  expect(changed.rowCount).toBe(2);
});
