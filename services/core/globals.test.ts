import { expect, test } from 'vitest';
import { missingGlobals, parseGlobals, withoutPassword } from '#core/globals.ts';

const DUMP = `--
-- PostgreSQL database cluster dump
--
\\restrict abc
SET default_transaction_read_only = off;

CREATE ROLE app;
ALTER ROLE app WITH NOSUPERUSER INHERIT LOGIN PASSWORD 'SCRAM-SHA-256$4096:it''s;secret';
CREATE ROLE "Odd ""name"";x";
ALTER ROLE "Odd ""name"";x" WITH NOLOGIN;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER;
ALTER ROLE app SET application_name TO 'two
lines;';
COMMENT ON ROLE app IS 'the application';
GRANT pg_read_all_data TO app WITH INHERIT TRUE GRANTED BY postgres;
GRANT app TO "Odd ""name"";x" GRANTED BY "the admin";
`;

test('statements about roles are told apart, whatever is quoted in them; the server’s own roles are left out', () => {
  const found = parseGlobals(DUMP);
  expect(found.map(({ kind, role }) => `${kind} ${role}`)).toEqual([
    'role app',
    'attributes app',
    'role Odd "name";x',
    'attributes Odd "name";x',
    'setting app',
    'comment app',
    'membership app',
    'membership Odd "name";x',
  ]);
  expect(found.at(-1)?.sql).toBe(`GRANT app TO "Odd ""name"";x";`);
  expect(found[4]?.sql).toBe(`ALTER ROLE app SET application_name TO 'two\nlines;';`);
});

test('a password is shown to nobody', () => {
  const shown = parseGlobals(DUMP).map(({ sql }) => withoutPassword(sql));
  expect(shown[1]).toBe(`ALTER ROLE app WITH NOSUPERUSER INHERIT LOGIN PASSWORD '***';`);
  expect(shown.join('\n')).not.toContain('secret');
});

test('roles that are there keep what they have, and get memberships', () => {
  const left = missingGlobals(parseGlobals(DUMP), new Set(['app']));
  expect(left.map(({ kind, role }) => `${kind} ${role}`)).toEqual([
    'role Odd "name";x',
    'attributes Odd "name";x',
    'membership app',
    'membership Odd "name";x',
  ]);
});
