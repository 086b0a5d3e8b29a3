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
