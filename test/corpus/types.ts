/** Types, collations and extensions that the corpus' columns use. Made at the source, and at a target of `schema: create`. */
export const TYPES_SQL = String.raw`
  CREATE SCHEMA corpus;
  CREATE SCHEMA "Ext.Schema";
  CREATE EXTENSION hstore SCHEMA "Ext.Schema";
  CREATE EXTENSION citext SCHEMA "Ext.Schema";
  CREATE EXTENSION ltree SCHEMA "Ext.Schema";
  CREATE EXTENSION btree_gist SCHEMA "Ext.Schema";
  CREATE TYPE corpus.mood AS ENUM ('', 'NULL', 'null', ' spaced ', 'it''s', 'back\slash', 'a,b', '{}', 'quote"d', E'tab\tnew\nline', '😀', '(x)');
  CREATE TYPE corpus."Odd (10) [] Name" AS ENUM ('one', 'two');
  CREATE TYPE corpus._under AS ENUM ('first', 'last');
  CREATE TYPE corpus.a23456789b23456789c23456789d23456789e23456789f23456789g23456789 AS ENUM ('long', 'longer');
  CREATE DOMAIN corpus.feeling AS corpus.mood;
  CREATE DOMAIN corpus._amount AS numeric(20, 5) CHECK (VALUE > -1000000);
  CREATE DOMAIN corpus.count AS int4;
  CREATE DOMAIN corpus.flag AS bool;
  CREATE DOMAIN corpus.tags AS text[] CHECK (array_ndims(VALUE) = 1 OR VALUE = '{}');
  CREATE DOMAIN corpus.nick AS "Ext.Schema".citext;
  CREATE DOMAIN corpus.relation AS regclass;
  CREATE TYPE corpus.pair AS (a int4, "b c" text, at timestamptz);
  CREATE TYPE corpus.nest AS (p corpus.pair, list corpus.pair[], m corpus.mood, "é""," bytea);
  CREATE DOMAIN corpus.pair_d AS corpus.pair;
  CREATE DOMAIN corpus.nest_d AS corpus.nest[];
  CREATE TYPE corpus.textrange AS RANGE (subtype = text, collation = "C");
  CREATE COLLATION corpus.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
`;

/** What reg* values of the corpus name. */
export const REFERENCED_FUNCTION_SQL = `
  CREATE FUNCTION corpus."Fn"(int4, corpus.pair) RETURNS int4 LANGUAGE sql AS 'SELECT 1';
`;
export const REFERENCED_SQL = `${REFERENCED_FUNCTION_SQL}
  CREATE TABLE corpus."Odd"" . Name" (a int PRIMARY KEY);
`;

/** Types that `schema: create` makes itself; nothing else of the corpus is made of them. */
export const MADE_BY_CREATE = [
  'corpus._under',
  'corpus."Odd (10) [] Name"',
  'corpus.a23456789b23456789c23456789d23456789e23456789f23456789g23456789',
] as const;
