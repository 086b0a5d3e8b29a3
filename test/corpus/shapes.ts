import type { CorpusPart } from './part.ts';

const WIDE = 1_600;
const wideColumns = Array.from(
  { length: WIDE - 1 },
  (_, n) => `c${n} ${n % 3 === 0 ? 'bool' : n % 3 === 1 ? 'int2' : 'text'}`,
);

/** Tables with many columns, none, or no key. */
const COLUMNS_AND_KEYS: CorpusPart = {
  tables: `
    CREATE TABLE public.wide (id int4 PRIMARY KEY, ${wideColumns.join(', ')});
    CREATE TABLE public.wide_full (LIKE public.wide); ALTER TABLE public.wide_full REPLICA IDENTITY FULL;
    CREATE TABLE public.no_columns (); ALTER TABLE public.no_columns REPLICA IDENTITY FULL;
    CREATE TABLE public.only_generated (g int4 GENERATED ALWAYS AS (7) STORED); ALTER TABLE public.only_generated REPLICA IDENTITY FULL;
    CREATE TABLE public.duplicates (a int4, j json, p point, t text, f float8); ALTER TABLE public.duplicates REPLICA IDENTITY FULL;
    CREATE TABLE public.nothing (a int4 PRIMARY KEY, b text); ALTER TABLE public.nothing REPLICA IDENTITY NOTHING;
    CREATE TABLE public.keyless_log (line text);
    CREATE TABLE public.by_index (id int4 PRIMARY KEY, code text NOT NULL, n int4, UNIQUE (n));
    CREATE UNIQUE INDEX by_index_code ON public.by_index (code) INCLUDE (n);
    ALTER TABLE public.by_index REPLICA IDENTITY USING INDEX by_index_code;
    CREATE TABLE public.full_with_key (id int4 PRIMARY KEY, t text, j json); ALTER TABLE public.full_with_key REPLICA IDENTITY FULL;
    CREATE TABLE public.composite (a text, b int4, "1" int8, "0" date, c bool, PRIMARY KEY (c, "1", a));
    CREATE TABLE public.null_unique (a int4, b int4, UNIQUE NULLS NOT DISTINCT (a)); ALTER TABLE public.null_unique REPLICA IDENTITY FULL;`,
  rows: `
    INSERT INTO public.wide (id, c0, c1, c2, c1598) VALUES (1, true, 1, 'a', 2), (2, NULL, NULL, NULL, NULL), (3, false, -1, '', 3);
    INSERT INTO public.wide_full SELECT * FROM public.wide;
    INSERT INTO public.no_columns DEFAULT VALUES; INSERT INTO public.no_columns DEFAULT VALUES; INSERT INTO public.no_columns DEFAULT VALUES;
    INSERT INTO public.only_generated DEFAULT VALUES; INSERT INTO public.only_generated DEFAULT VALUES;
    INSERT INTO public.duplicates SELECT 1, '{"a":1, "a":2}', '(1,NaN)', 'x', -0.0 FROM generate_series(1, 5);
    INSERT INTO public.duplicates VALUES (NULL, NULL, NULL, NULL, NULL), (NULL, NULL, NULL, NULL, NULL), (2, '1.0', '(0,-0)', '', 'NaN');
    INSERT INTO public.nothing VALUES (1, 'a');
    INSERT INTO public.keyless_log VALUES ('same'), ('same'), (NULL), ('');
    INSERT INTO public.by_index VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30);
    INSERT INTO public.full_with_key VALUES (1, 'a', '{"x": 1}'), (2, 'b', NULL);
    INSERT INTO public.composite SELECT 'k' || n, n, n, date '2000-01-01' + n, n % 2 = 0 FROM generate_series(1, 10) n;
    INSERT INTO public.null_unique VALUES (NULL, 1), (1, NULL);`,
  changes: [
    `INSERT INTO public.wide (id, c0, c1, c2) SELECT n, true, n, 'w' || n FROM generate_series(10, 12) n;
     UPDATE public.wide SET c2 = 'changed', c1595 = 'end', c3 = NOT c3 WHERE id < 12; UPDATE public.wide SET id = 100 WHERE id = 12; DELETE FROM public.wide WHERE id = 1`,
    `INSERT INTO public.wide_full SELECT * FROM public.wide; UPDATE public.wide_full SET c4 = 4; DELETE FROM public.wide_full WHERE id = 2`,
    `INSERT INTO public.no_columns DEFAULT VALUES; INSERT INTO public.no_columns DEFAULT VALUES`,
    `DELETE FROM public.no_columns WHERE ctid = (SELECT min(ctid) FROM public.no_columns)`,
    `INSERT INTO public.only_generated DEFAULT VALUES`,
    `DELETE FROM public.only_generated WHERE ctid = (SELECT min(ctid) FROM public.only_generated)`,
    `INSERT INTO public.duplicates VALUES (1, '{"a":1, "a":2}', '(1,NaN)', 'x', -0.0)`,
    `DELETE FROM public.duplicates WHERE ctid IN (SELECT ctid FROM public.duplicates WHERE a = 1 LIMIT 2)`,
    `UPDATE public.duplicates SET j = '{"a":1,"a":2}' WHERE ctid = (SELECT min(ctid) FROM public.duplicates WHERE a = 1)`,
    `UPDATE public.duplicates SET t = 'one of two' WHERE ctid = (SELECT min(ctid) FROM public.duplicates WHERE a IS NULL)`,
    `UPDATE public.duplicates SET a = 3; DELETE FROM public.duplicates WHERE t = ''`,
    `INSERT INTO public.nothing SELECT n, 'b' || n FROM generate_series(2, 300) n`,
    `INSERT INTO public.keyless_log VALUES ('same'), (''), (NULL)`,
    `UPDATE public.by_index SET id = id + 100; UPDATE public.by_index SET code = code || code WHERE id = 101; INSERT INTO public.by_index VALUES (4, 'd', 40); DELETE FROM public.by_index WHERE code = 'b'`,
    `UPDATE public.by_index SET n = n + 1, id = -id`,
    `UPDATE public.full_with_key SET j = '{"x":  1}' WHERE id = 1; UPDATE public.full_with_key SET id = 20 WHERE id = 2; INSERT INTO public.full_with_key VALUES (2, 'new', '[]'); DELETE FROM public.full_with_key WHERE id = 20`,
    `UPDATE public.composite SET "1" = "1" + 100 WHERE c; UPDATE public.composite SET b = NULL, "0" = NULL WHERE NOT c; DELETE FROM public.composite WHERE a = 'k3'; INSERT INTO public.composite VALUES ('k3', 3, 3, 'infinity', false)`,
    `UPDATE public.null_unique SET b = 2 WHERE a IS NULL; UPDATE public.null_unique SET a = 5 WHERE a = 1`,
  ],
};

const noise = (bytes: number, seed: string): string =>
  `(SELECT substr(string_agg(md5(n::text || ${seed}), ''), 1, ${bytes}) FROM generate_series(1, ${Math.ceil(bytes / 32)}) n)`;

/** Values outside the row: unchanged ones are not sent. */
const TOAST: CorpusPart = {
  tables: ['toast', 'toast_full', 'toast_full_keyless']
    .map(
      (
        name,
      ) => `CREATE TABLE public.${name} (id int4 ${name.endsWith('keyless') ? '' : 'PRIMARY KEY'}, n int4, big text, big2 bytea);
        ALTER TABLE public.${name} ALTER big SET STORAGE EXTERNAL; ${name === 'toast' ? '' : `ALTER TABLE public.${name} REPLICA IDENTITY FULL;`}`,
    )
    .join('\n').concat(`
      CREATE TABLE public.toasted_key (k text PRIMARY KEY, n int4, big text);
      CREATE TABLE public.toasted_index (id int4 PRIMARY KEY, k text NOT NULL UNIQUE, k2 text NOT NULL, n int4, big text);
      CREATE UNIQUE INDEX toasted_index_k ON public.toasted_index (k); ALTER TABLE public.toasted_index REPLICA IDENTITY USING INDEX toasted_index_k;
      CREATE TABLE public.long_key (k text PRIMARY KEY, n int4);`),
  rows: `
    ${['toast', 'toast_full', 'toast_full_keyless'].map((name) => `INSERT INTO public.${name} SELECT n, n, ${noise(20_000, 'g.n::text')}, decode(${noise(6_000, "g.n::text || 'b'")}, 'hex') FROM generate_series(1, 8) g(n);`).join('\n')}
    INSERT INTO public.toasted_key SELECT ${noise(2_500, 'g.n::text')}, n, ${noise(9_000, "g.n::text || 'k'")} FROM generate_series(1, 4) g(n);
    INSERT INTO public.toasted_index SELECT n, ${noise(2_500, 'g.n::text')}, ${noise(2_600, "g.n::text || 'k2'")}, n, ${noise(9_000, "g.n::text || 'k'")} FROM generate_series(1, 4) g(n);
    INSERT INTO public.long_key SELECT repeat(n::text, 100000), n FROM generate_series(1, 3) n;`,
  changes: [
    ...['toast', 'toast_full', 'toast_full_keyless'].flatMap((name) => [
      `UPDATE public.${name} SET n = n + 10`,
      `INSERT INTO public.${name} VALUES (100, 1, ${noise(30_000, "'i'")}, NULL); UPDATE public.${name} SET n = 2 WHERE id = 100; UPDATE public.${name} SET id = 101 WHERE id = 100; UPDATE public.${name} SET n = 3 WHERE id = 101`,
      `UPDATE public.${name} SET id = id + 1000 WHERE id IN (1, 2); UPDATE public.${name} SET big2 = NULL WHERE id = 1001; UPDATE public.${name} SET n = 0 WHERE id = 1001; UPDATE public.${name} SET id = 1 WHERE id = 1001`,
      `UPDATE public.${name} SET big = big || 'x' WHERE id = 3; UPDATE public.${name} SET big2 = big2 || '\\x00' WHERE id = 3; UPDATE public.${name} SET n = 99 WHERE id = 3`,
      `DELETE FROM public.${name} WHERE id = 4; INSERT INTO public.${name} VALUES (4, 4, ${noise(10_000, "'again'")}, '\\x')`,
      `UPDATE public.${name} SET big = NULL WHERE id = 5; UPDATE public.${name} SET big = '' WHERE id = 6; DELETE FROM public.${name} WHERE id = 7`,
    ]),
    `UPDATE public.toasted_key SET n = n + 10`,
    `UPDATE public.toasted_key SET k = ${noise(2_500, "'moved'")} WHERE n = 11; UPDATE public.toasted_key SET n = 21 WHERE n = 11; DELETE FROM public.toasted_key WHERE n = 12; UPDATE public.toasted_key SET big = 'small' WHERE n = 13`,
    `INSERT INTO public.toasted_key VALUES (${noise(2_500, "'new'")}, 5, 'x'); UPDATE public.toasted_key SET n = 6 WHERE n = 5`,
    `UPDATE public.toasted_index SET n = n + 10; UPDATE public.toasted_index SET id = id + 10; UPDATE public.toasted_index SET k = k || 'x' WHERE n = 11; DELETE FROM public.toasted_index WHERE n = 12`,
    `UPDATE public.long_key SET n = n + 1; UPDATE public.long_key SET k = k || 'end' WHERE n = 2; DELETE FROM public.long_key WHERE n = 3; INSERT INTO public.long_key VALUES (repeat('ä', 50000), 9)`,
  ],
};

/** Columns that the server fills, and columns with a history. */
export const FILLED: CorpusPart = {
  tables: `
    CREATE TABLE public.generated (id int4 PRIMARY KEY, a int4, b text, s int4 GENERATED ALWAYS AS (a * 2) STORED, u text GENERATED ALWAYS AS (upper(b)) STORED);
    CREATE TABLE public.generated_full (a int4, s int4 GENERATED ALWAYS AS (a + 1) STORED NOT NULL, b text); ALTER TABLE public.generated_full REPLICA IDENTITY FULL;
    CREATE TABLE public.identity_always (id int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text);
    CREATE TABLE public.identity_beside (k text PRIMARY KEY, id int8 GENERATED ALWAYS AS IDENTITY (START 1 INCREMENT 7), t text, g text GENERATED ALWAYS AS (t || '!') STORED);
    CREATE TABLE public.identity_keyless (id int4 GENERATED ALWAYS AS IDENTITY, t text); ALTER TABLE public.identity_keyless REPLICA IDENTITY FULL;
    CREATE TABLE public.identity_default (id int2 GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, t text);
    CREATE TABLE public.serials (id bigserial PRIMARY KEY, t text DEFAULT 'filled' NOT NULL, at timestamptz DEFAULT now());
    CREATE TABLE public.grown (dead1 int4, id int4 PRIMARY KEY, dead2 text, t text, dead3 json);
    INSERT INTO public.grown SELECT n, n, 'x', 't' || n, '{}' FROM generate_series(1, 5) n;
    ALTER TABLE public.grown DROP COLUMN dead1, DROP COLUMN dead2, DROP COLUMN dead3;
    ALTER TABLE public.grown ADD COLUMN fast numeric DEFAULT 1.10, ADD COLUMN fast2 timestamptz NOT NULL DEFAULT '2001-02-03 04:05:06+05:45', ADD COLUMN fast3 text DEFAULT 'missing';
    CREATE TABLE public.grown_full (id int4, t text); ALTER TABLE public.grown_full REPLICA IDENTITY FULL;
    INSERT INTO public.grown_full SELECT n % 2, 't' FROM generate_series(1, 5) n;
    ALTER TABLE public.grown_full ADD COLUMN fast float8 DEFAULT '-0';`,
  rows: `
    INSERT INTO public.generated (id, a, b) VALUES (1, 1, 'a'), (2, NULL, NULL);
    INSERT INTO public.generated_full (a, b) VALUES (1, 'a'), (1, 'a'), (2, 'b');
    INSERT INTO public.identity_always (t) VALUES ('a'), ('b'), ('c');
    INSERT INTO public.identity_beside (k, t) VALUES ('a', 'a'), ('b', 'b');
    INSERT INTO public.identity_keyless (t) VALUES ('a'), ('b');
    INSERT INTO public.identity_default (t) VALUES ('a'); INSERT INTO public.identity_default VALUES (-5, 'b');
    INSERT INTO public.serials (t) VALUES ('a'), ('b'); INSERT INTO public.serials VALUES (9007199254740993, 'c', NULL);`,
  changes: [
    `INSERT INTO public.generated (id, a, b) SELECT n, n, 'g' || n FROM generate_series(10, 200) n; UPDATE public.generated SET a = a + 1 WHERE id < 12; UPDATE public.generated SET id = 500, b = NULL WHERE id = 2`,
    `UPDATE public.generated_full SET b = 'changed' WHERE ctid = (SELECT min(ctid) FROM public.generated_full); DELETE FROM public.generated_full WHERE a = 2; INSERT INTO public.generated_full (a, b) VALUES (7, NULL)`,
    `INSERT INTO public.identity_always (t) VALUES ('stream'); UPDATE public.identity_always SET t = 'new' WHERE id = 1; INSERT INTO public.identity_always OVERRIDING SYSTEM VALUE VALUES (100, 'forced')`,
    `UPDATE public.identity_always SET id = DEFAULT, t = 'moved' WHERE id = 2; UPDATE public.identity_always SET t = 'twice' WHERE t = 'moved'; DELETE FROM public.identity_always WHERE id = 3`,
    `INSERT INTO public.identity_beside (k, t) VALUES ('c', 'c'); UPDATE public.identity_beside SET t = 'x' WHERE k = 'a'; UPDATE public.identity_beside SET id = DEFAULT WHERE k = 'b'; UPDATE public.identity_beside SET id = DEFAULT, k = 'cc' WHERE k = 'c'`,
    `UPDATE public.identity_keyless SET id = DEFAULT WHERE t = 'a'; UPDATE public.identity_keyless SET t = 'bb' WHERE t = 'b'`,
    `INSERT INTO public.identity_default (t) VALUES ('stream'); UPDATE public.identity_default SET id = -6 WHERE id = -5`,
    `INSERT INTO public.serials (t) VALUES ('stream'); UPDATE public.serials SET id = id - 1, at = NULL WHERE id > 100`,
    `UPDATE public.grown SET t = t || '!' WHERE id = 1; UPDATE public.grown SET fast = NULL, fast3 = 'set' WHERE id = 2; UPDATE public.grown SET id = 50 WHERE id = 3; INSERT INTO public.grown (id) VALUES (6); DELETE FROM public.grown WHERE id = 4`,
    `UPDATE public.grown_full SET t = 'u' WHERE ctid = (SELECT min(ctid) FROM public.grown_full); DELETE FROM public.grown_full WHERE ctid = (SELECT min(ctid) FROM public.grown_full WHERE t = 't')`,
  ],
};

/** Tables that consist of others. */
const FAMILIES: CorpusPart = {
  tables: `
    CREATE TABLE public.measured (at date NOT NULL, id int4 NOT NULL, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE public.measured_2020 PARTITION OF public.measured FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE public.measured_2021 (v text, id int4 NOT NULL, dead int4, at date NOT NULL);
    ALTER TABLE public.measured_2021 DROP COLUMN dead; ALTER TABLE public.measured ATTACH PARTITION public.measured_2021 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
    CREATE TABLE public.measured_rest PARTITION OF public.measured DEFAULT PARTITION BY HASH (id);
    CREATE TABLE public.measured_rest_0 PARTITION OF public.measured_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE public.measured_rest_1 PARTITION OF public.measured_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE public.parent (id int4 PRIMARY KEY, t text);
    CREATE TABLE public.child (extra int4, PRIMARY KEY (id)) INHERITS (public.parent);
    CREATE TABLE public.grandchild (PRIMARY KEY (id)) INHERITS (public.child);
    CREATE TABLE public.keyless_parent (id int4, t text); ALTER TABLE public.keyless_parent REPLICA IDENTITY FULL;
    CREATE TABLE public.keyless_child () INHERITS (public.keyless_parent); ALTER TABLE public.keyless_child REPLICA IDENTITY FULL;`,
  rows: `
    INSERT INTO public.measured SELECT date '2020-01-01' + n * 30, n, 'm' || n FROM generate_series(1, 40) n;
    INSERT INTO public.parent VALUES (1, 'parent'), (2, 'parent'); INSERT INTO public.child VALUES (1, 'child', 1), (3, 'child', 3); INSERT INTO public.grandchild VALUES (1, 'grandchild', 1);
    INSERT INTO public.keyless_parent VALUES (1, 'same'); INSERT INTO public.keyless_child VALUES (1, 'same'), (1, 'same');`,
  changes: [
    `UPDATE public.measured SET at = at + 365 WHERE id < 5; UPDATE public.measured SET at = '1999-01-01' WHERE id = 20; UPDATE public.measured SET v = v || '!' WHERE id > 30; DELETE FROM public.measured WHERE id = 7; INSERT INTO public.measured VALUES ('infinity', 99, NULL)`,
    `UPDATE ONLY public.parent SET t = 'only parent' WHERE id = 1`,
    `UPDATE public.child SET t = 'child and below' WHERE id = 1; UPDATE public.parent SET id = id + 10 WHERE id = 1`,
    `DELETE FROM ONLY public.parent WHERE id = 11; INSERT INTO public.parent VALUES (5, 'p'); INSERT INTO public.child VALUES (5, 'c', 5); DELETE FROM ONLY public.child WHERE id = 3`,
    `UPDATE ONLY public.keyless_parent SET t = 'parent'; DELETE FROM public.keyless_child WHERE ctid = (SELECT min(ctid) FROM public.keyless_child)`,
    `INSERT INTO public.keyless_parent VALUES (1, 'same'); DELETE FROM ONLY public.keyless_parent WHERE t = 'same'`,
    `TRUNCATE ONLY public.parent; INSERT INTO public.parent VALUES (7, 'after')`,
  ],
};

/** Constraints that a change may break for a moment. */
const CONSTRAINTS: CorpusPart = {
  tables: `
    CREATE TABLE public.deferred_key (id int4 PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, t text); ALTER TABLE public.deferred_key REPLICA IDENTITY FULL;
    CREATE TABLE public.deferred_unique (id int4 PRIMARY KEY, u int4 UNIQUE DEFERRABLE);
    CREATE TABLE public.swapped (id int4 PRIMARY KEY, u text UNIQUE);
    CREATE TABLE public.hen (id int4 PRIMARY KEY, egg int4);
    CREATE TABLE public.egg (id int4 PRIMARY KEY, hen int4 NOT NULL REFERENCES public.hen DEFERRABLE INITIALLY DEFERRED);
    ALTER TABLE public.hen ADD FOREIGN KEY (egg) REFERENCES public.egg DEFERRABLE;
    CREATE TABLE public.tree (id int4 PRIMARY KEY, above int4 REFERENCES public.tree ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE public.leaf (id int4 PRIMARY KEY, tree int4 REFERENCES public.tree ON DELETE SET NULL ON UPDATE CASCADE);
    CREATE TABLE public.booked (id int4 PRIMARY KEY, room int4, during int4range, EXCLUDE USING gist (room WITH =, during WITH &&));
    CREATE TABLE public.checked (id int4 PRIMARY KEY, a int4 CHECK (a > 0), b int4, CHECK (b > a));
    CREATE TABLE public.felt (k corpus.feeling PRIMARY KEY, n int4);
    CREATE TABLE public.unvalidated (id int4 PRIMARY KEY, a int4); INSERT INTO public.unvalidated VALUES (1, -1), (2, -2), (3, 5); ALTER TABLE public.unvalidated ADD CHECK (a > 0) NOT VALID;
    CREATE TABLE public.secured (id int4 PRIMARY KEY, t text); ALTER TABLE public.secured ENABLE ROW LEVEL SECURITY; ALTER TABLE public.secured FORCE ROW LEVEL SECURITY;
    CREATE POLICY none ON public.secured USING (false);
    CREATE TABLE public.audited (id int4 PRIMARY KEY, t text); CREATE TABLE public.audit (n int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
    CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.audit (what) VALUES (TG_OP || NEW.id); NEW.t = NEW.t || '+'; RETURN NEW; END $$;
    CREATE TRIGGER noting BEFORE INSERT OR UPDATE ON public.audited FOR EACH ROW EXECUTE FUNCTION public.note();
    CREATE RULE also AS ON INSERT TO public.checked DO ALSO UPDATE public.audited SET t = 'ruled';`,
  rows: `
    INSERT INTO public.deferred_key SELECT n, 't' || n FROM generate_series(1, 5) n;
    INSERT INTO public.deferred_unique SELECT n, n FROM generate_series(1, 5) n;
    INSERT INTO public.swapped VALUES (1, 'a'), (2, 'b'), (3, 'c');
    BEGIN; INSERT INTO public.hen VALUES (1, NULL), (2, NULL); INSERT INTO public.egg VALUES (1, 1), (2, 2); UPDATE public.hen SET egg = id; COMMIT;
    INSERT INTO public.tree VALUES (1, NULL), (2, 1), (3, 2), (4, 1); INSERT INTO public.leaf VALUES (1, 3), (2, 4), (3, NULL);
    INSERT INTO public.booked VALUES (1, 1, '[1,5)'), (2, 1, '[5,9)');
    INSERT INTO public.checked VALUES (1, 1, 2);
    INSERT INTO public.felt VALUES ('', 1), ('it''s', 2), ('a,b', 3);
    INSERT INTO public.secured VALUES (1, 'hidden'); INSERT INTO public.audited VALUES (1, 'a');`,
  changes: [
    `UPDATE public.deferred_key SET id = id + 1; UPDATE public.deferred_key SET id = CASE id WHEN 2 THEN 3 ELSE 2 END WHERE id IN (2, 3); DELETE FROM public.deferred_key WHERE id = 4`,
    `UPDATE public.deferred_unique SET u = u + 1`,
    `BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE public.deferred_unique SET u = 100 WHERE id = 1; UPDATE public.deferred_unique SET u = 2 WHERE id = 2; UPDATE public.deferred_unique SET u = 3 WHERE id = 1; COMMIT`,
    `UPDATE public.swapped SET u = 'tmp' WHERE id = 1; UPDATE public.swapped SET u = 'a' WHERE id = 2; UPDATE public.swapped SET u = 'b' WHERE id = 1`,
    `UPDATE public.swapped SET id = -id; UPDATE public.swapped SET id = 3 WHERE id = -1; UPDATE public.swapped SET id = 1 WHERE id = -3`,
    `BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO public.egg VALUES (3, 3); INSERT INTO public.hen VALUES (3, 4); INSERT INTO public.egg VALUES (4, 3); DELETE FROM public.hen WHERE id = 1; DELETE FROM public.egg WHERE id = 1; COMMIT`,
    `UPDATE public.tree SET id = 10 WHERE id = 1; DELETE FROM public.tree WHERE id = 2; DELETE FROM public.tree WHERE id = 4`,
    `UPDATE public.booked SET during = '[1,2)' WHERE id = 1; INSERT INTO public.booked VALUES (3, 1, '[2,5)'); DELETE FROM public.booked WHERE id = 2; UPDATE public.booked SET during = '[5,9)' WHERE id = 1; UPDATE public.booked SET during = '[1,5)' WHERE id = 3`,
    `UPDATE public.checked SET a = 5, b = 6; UPDATE public.checked SET a = 1, b = 2`,
    `UPDATE public.felt SET n = n + 10; UPDATE public.felt SET k = '😀' WHERE n = 11; DELETE FROM public.felt WHERE n = 12`,
    `UPDATE public.unvalidated SET a = 6 WHERE id = 2; DELETE FROM public.unvalidated WHERE id = 3; INSERT INTO public.unvalidated VALUES (4, 4)`,
    `INSERT INTO public.audited VALUES (2, 'b'); UPDATE public.audited SET t = 'c'; UPDATE public.audited SET id = 3 WHERE id = 2; INSERT INTO public.checked VALUES (2, 2, 3)`,
    `INSERT INTO public.secured VALUES (2, 'hidden'); UPDATE public.secured SET t = 'seen' WHERE id = 1`,
  ],
};

export const SHAPES: readonly CorpusPart[] = [COLUMNS_AND_KEYS, TOAST, FILLED, FAMILIES, CONSTRAINTS];

/** What only a newer server has. */
export const SHAPES_18: CorpusPart = {
  tables: `
    CREATE TABLE public.virtual (id int4 PRIMARY KEY, a int4, v int4 GENERATED ALWAYS AS (a * 3) VIRTUAL, s text GENERATED ALWAYS AS ('s' || a) STORED);
    CREATE TABLE public.virtual_full (a int4, v int4 GENERATED ALWAYS AS (a * 3)); ALTER TABLE public.virtual_full REPLICA IDENTITY FULL;
    CREATE TABLE public.unvalidated_null (id int4 PRIMARY KEY, a int4); INSERT INTO public.unvalidated_null VALUES (1, NULL), (2, 2);
    ALTER TABLE public.unvalidated_null ADD CONSTRAINT filled NOT NULL a NOT VALID;
    CREATE TABLE public.temporal (id int4, during daterange, t text, PRIMARY KEY (id, during WITHOUT OVERLAPS));`,
  rows: `
    INSERT INTO public.virtual (id, a) VALUES (1, 1), (2, NULL); INSERT INTO public.virtual_full (a) VALUES (1), (1);
    INSERT INTO public.temporal VALUES (1, '[2000-01-01,2001-01-01)', 'a'), (1, '[2001-01-01,)', 'b');`,
  changes: [
    `INSERT INTO public.virtual (id, a) VALUES (3, 3); UPDATE public.virtual SET a = 9 WHERE id = 2; UPDATE public.virtual SET id = 10 WHERE id = 1`,
    `INSERT INTO public.virtual_full VALUES (7)`,
    `UPDATE public.unvalidated_null SET a = 3 WHERE id = 1; INSERT INTO public.unvalidated_null VALUES (3, 3)`,
    `UPDATE public.temporal SET t = 'c' WHERE during @> date '2000-06-01'; UPDATE public.temporal SET during = '[2001-01-01,2002-01-01)' WHERE during @> date '2001-06-01'`,
  ],
};
