/** Rows of every kind of change; `mark` tells how far a target is. */
export const TABLES = `
  CREATE TABLE public.mark (n int PRIMARY KEY);
  CREATE TABLE public.account (id int PRIMARY KEY, owner text NOT NULL, balance bigint NOT NULL, secret text);
  ALTER TABLE public.account REPLICA IDENTITY FULL;
  CREATE TABLE public.wide (id int PRIMARY KEY, big text, small int);
  ALTER TABLE public.wide ALTER COLUMN big SET STORAGE EXTERNAL;
  CREATE TABLE public.scratch (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
  CREATE TABLE public.heap (n int);
  ALTER TABLE public.heap REPLICA IDENTITY FULL;
  INSERT INTO public.account SELECT n, 'owner ' || n, 100, 's' || n FROM generate_series(1, 400) n;
  INSERT INTO public.wide SELECT n, repeat(md5(n::text), 100), n FROM generate_series(1, 300) n;
  INSERT INTO public.scratch (what) SELECT 'first ' || n FROM generate_series(1, 100) n;
  INSERT INTO public.heap SELECT n / 2 FROM generate_series(1, 50) n;`;
/** Each a transaction. */
export const HISTORY = [
  `UPDATE public.account SET balance = balance + id WHERE id % 3 = 0; DELETE FROM public.account WHERE id > 390`,
  `UPDATE public.wide SET small = -small WHERE id < 100; UPDATE public.wide SET id = id + 10000 WHERE id > 250`,
  `INSERT INTO public.scratch (what) VALUES ('gone'); TRUNCATE public.scratch; INSERT INTO public.scratch (what) VALUES ('stays')`,
  `ALTER TABLE public.account ADD COLUMN mail text; UPDATE public.account SET mail = owner || '@x' WHERE id < 50`,
  `DELETE FROM public.heap WHERE n = 3; INSERT INTO public.heap VALUES (99), (99)`,
  `ALTER TABLE public.wide DROP COLUMN small; UPDATE public.wide SET big = 'short' WHERE id < 20`,
  `CREATE TABLE public.later (id int PRIMARY KEY, what text); INSERT INTO public.later SELECT n, 'l' || n FROM generate_series(1, 100) n`,
  `TRUNCATE public.scratch; INSERT INTO public.account VALUES (1000, 'late', 1, 's', 'm'); UPDATE public.account SET balance = -1 WHERE id IN (7, 8); UPDATE public.account SET balance = 5 WHERE id = 8`,
];
