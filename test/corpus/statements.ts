import type { CorpusPart } from './part.ts';

const many = (from: number, to: number): string =>
  `INSERT INTO public.events SELECT n, 'e' || n, n % 7 FROM generate_series(${from}, ${to}) n`;

/** What else stands in a stream, and in which order. */
export const STATEMENTS: CorpusPart = {
  tables: `
    CREATE TABLE public.events (id int4 PRIMARY KEY, t text, n int4);
    CREATE TABLE public.cut (id serial PRIMARY KEY, t text);
    CREATE TABLE public.cut_too (id int4 PRIMARY KEY REFERENCES public.cut);
    CREATE TABLE public.cut_three (id int4 PRIMARY KEY REFERENCES public.cut_too);
    CREATE TABLE public.cut_log (t text);
    CREATE TABLE public.refilled (id int4 PRIMARY KEY, t text);
    CREATE TABLE public.emptied (id int4 PRIMARY KEY, t text);`,
  rows: `${many(1, 50)};
    INSERT INTO public.cut SELECT n, 't' FROM generate_series(1, 9) n; INSERT INTO public.cut_too SELECT 1; INSERT INTO public.cut_three SELECT 1;
    INSERT INTO public.cut_log VALUES ('a'), ('a'); INSERT INTO public.refilled VALUES (1, 'a'), (2, 'b'); INSERT INTO public.emptied VALUES (1, 'a');`,
  changes: [
    `BEGIN; ${many(100, 110)}; SAVEPOINT a; ${many(200, 210)}; SAVEPOINT b; UPDATE public.events SET t = 'lost'; ROLLBACK TO b; ${many(300, 310)}; ROLLBACK TO a; ${many(400, 410)}; RELEASE a; COMMIT`,
    `BEGIN; UPDATE public.events SET n = -1; ROLLBACK`,
    `DO $$ BEGIN BEGIN UPDATE public.events SET n = 99; RAISE 'no'; EXCEPTION WHEN OTHERS THEN UPDATE public.events SET n = n + 1 WHERE id < 5; END; END $$`,
    `INSERT INTO public.events SELECT n, 'upsert', 0 FROM generate_series(45, 55) n ON CONFLICT (id) DO UPDATE SET t = excluded.t || public.events.t`,
    `INSERT INTO public.events VALUES (1, 'ignored', 0) ON CONFLICT DO NOTHING`,
    `MERGE INTO public.events e USING (SELECT n FROM generate_series(40, 60) n) s ON e.id = s.n WHEN MATCHED AND s.n % 3 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = -s.n WHEN NOT MATCHED THEN INSERT VALUES (s.n, 'merged', 1)`,
    `WITH gone AS (DELETE FROM public.events WHERE id BETWEEN 10 AND 12 RETURNING *) INSERT INTO public.events SELECT id + 1000, t, n FROM gone`,
    `BEGIN; ${many(500, 520)}; UPDATE public.events SET id = -id WHERE id > 510; PREPARE TRANSACTION 'corpus one'`,
    `BEGIN; ${many(600, 620)}; PREPARE TRANSACTION 'corpus two'`,
    `UPDATE public.events SET t = 'between' WHERE id = 2`,
    `COMMIT PREPARED 'corpus one'`,
    `ROLLBACK PREPARED 'corpus two'`,
    `SELECT pg_logical_emit_message(true, 'other', 'text'), pg_logical_emit_message(false, 'other', 'text'), pg_logical_emit_message(true, 'other', '\\x00ff'::bytea), pg_logical_emit_message(true, '', '')`,
    `BEGIN; INSERT INTO public.cut VALUES (50, 'before'); INSERT INTO public.cut_log VALUES ('before'); TRUNCATE public.cut, public.cut_log RESTART IDENTITY CASCADE; INSERT INTO public.cut (t) VALUES ('after'); INSERT INTO public.cut_too VALUES (1); INSERT INTO public.cut_log VALUES ('after'); COMMIT`,
    `BEGIN; UPDATE public.refilled SET t = 'x'; TRUNCATE public.refilled; INSERT INTO public.refilled VALUES (1, 'first'); TRUNCATE public.refilled; INSERT INTO public.refilled VALUES (1, 'second'); UPDATE public.refilled SET id = 2; COMMIT`,
    `BEGIN; SAVEPOINT s; TRUNCATE public.refilled; ROLLBACK TO s; INSERT INTO public.refilled VALUES (9, 'kept'); COMMIT`,
    `TRUNCATE public.emptied`,
    `BEGIN; CREATE TEMP TABLE scratch (a int4) ON COMMIT DROP; INSERT INTO scratch VALUES (1); INSERT INTO public.events VALUES (2000, 'with temp', 1); COMMIT`,
  ],
};

/** COPY needs another protocol than a simple query: the caller streams these lines into the table. */
export const COPIED = {
  table: 'public.events',
  lines: Array.from({ length: 500 }, (_, n) => `${3_000 + n}\tcopied\\t\\\\${n}\t\\N\n`).join(''),
} as const;
