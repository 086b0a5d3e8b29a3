import pg from 'pg';
import { expect, test } from 'vitest';
import { closeSide, installGuards, openSide, sealSide } from '#adapters/postgres/migration/guard.ts';
import { joinTerm, prepareSide } from '#adapters/postgres/migration/side-state.ts';
import { createDatabase } from '../harness/database.ts';

const NEVER = new AbortController().signal;

test('a table that one target keeps closed is closed by no other of its pipeline, and names of any length have guards of their own', async () => {
  await using database = await createDatabase(15, 'guards');
  const { client } = database;
  await client.query('CREATE TABLE public.t (id int PRIMARY KEY); CREATE TABLE public.u (id int PRIMARY KEY)');
  const long = 'a-pipeline-with-a-name-of-forty-letters-';
  const placeOf = (key: string, table: string) => ({
    client,
    pipeline: `${long}.${key}`,
    tables: [{ schema: 'public', table }],
    terminates: false,
  });
  const [one, two, other] = [
    placeOf('a-target-of-some-length', 't'),
    placeOf('a-target-of-some-length-too', 't'),
    placeOf('u', 'u'),
  ];
  await prepareSide(client);
  for (const place of [one, two, other]) {
    await joinTerm(client, place.pipeline, 1, true);
    expect(await installGuards(place, 1)).toBe(1);
  }
  await closeSide(one, 1, 60_000, NEVER);
  await expect(closeSide(two, 1, 60_000, NEVER)).rejects.toMatchObject({ code: 'switch_refused' });
  await closeSide(other, 1, 60_000, NEVER);
  await sealSide(one, 1);
  await openSide(other, 1);
  await client.query('INSERT INTO public.u VALUES (1)');
  await expect(client.query('INSERT INTO public.t VALUES (1)')).rejects.toMatchObject({ code: '25006' });
  await openSide(one, 1);
  await closeSide(two, 1, 60_000, NEVER);
});

test('an operator who is no superuser names whom he may not look at, and ends what he may', async () => {
  await using database = await createDatabase(15, 'holders');
  const { client, name } = database;
  const [operator, writer] = [`${name}_operator`, `${name}_writer`];
  await client.query(`CREATE TABLE public.t (id int PRIMARY KEY);
    CREATE ROLE ${operator} LOGIN PASSWORD 'operates'; CREATE ROLE ${writer} LOGIN PASSWORD 'writes';
    GRANT CREATE ON DATABASE ${name} TO ${operator}; GRANT SELECT, UPDATE, TRIGGER ON public.t TO ${operator}; GRANT INSERT ON public.t TO ${writer}`);
  const own = new pg.Client({ connectionString: database.urlFor(operator, 'operates') });
  const busy = new pg.Client({ connectionString: database.urlFor(writer, 'writes'), application_name: 'billing' });
  busy.on('error', () => undefined);
  try {
    await own.connect();
    await busy.connect();
    const place = { client: own, pipeline: 'held', tables: [{ schema: 'public', table: 't' }] };
    await prepareSide(own);
    await joinTerm(own, 'held', 1, true);
    expect(await installGuards(place, 1)).toBe(1);
    await busy.query('BEGIN; INSERT INTO public.t VALUES (1)');
    const who = new RegExp(`public\\.t: session \\d+, ${writer} 'billing'`);
    // He may not end it either, and says so by naming it once more.
    for (const terminates of [false, true])
      await expect(closeSide({ ...place, terminates }, 1, 60_000, AbortSignal.abort())).rejects.toMatchObject({
        code: 'fence_blocked',
        where: expect.stringMatching(new RegExp(`${who.source}, in a transaction$`)) as string,
      });
    await client.query(`GRANT pg_signal_backend, pg_read_all_stats TO ${operator}`);
    await expect(closeSide({ ...place, terminates: false }, 1, 60_000, AbortSignal.abort())).rejects.toMatchObject({
      where: expect.stringMatching(
        new RegExp(`${who.source}.*, idle in transaction, in a transaction for [\\d.]+ s$`),
      ) as string,
    });
    await closeSide({ ...place, terminates: true }, 1, 60_000, NEVER);
    await expect(busy.query('COMMIT')).rejects.toThrow();
  } finally {
    for (const session of [own, busy]) await session.end().catch(() => undefined);
    for (const role of [operator, writer])
      await client.query(`REASSIGN OWNED BY ${role} TO CURRENT_USER; DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});
