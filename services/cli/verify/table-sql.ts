import { castText } from '#adapters/postgres/value-type.ts';
import type { RowFilter } from './table-pair.ts';
import type { TableSide } from './table-side.ts';

/*
 * Rows are hashed as records of their columns: record output takes each type's own output function, which is what the pipeline
 * carries, writes NULL as nothing and '' as "", and quotes what it has to; so NULL, '' and 'NULL' differ, and 1.10 and 1.1 too
 * (PostgreSQL: "Composite Types", input and output syntax). md5 sees bytes, so collations play no part.
 */

/** Hexadecimal digits that tell a column's value from another one of the same row, once the whole row is known to differ. */
export const HASH_DIGITS = 8;

/** md5 of the row's compared columns. */
export function rowMd5(side: TableSide): string {
  return `pg_catalog.md5(ROW(${side.columns.join(', ')})::text)`;
}

/** The number of a row's chunk: by the identity's text, or by the whole row where there is none. */
export function chunkNumber(side: TableSide, chunks: number): string {
  const by = side.key.length === 0 ? side.columns : side.key.map(({ sql }) => sql);
  return `('x' || pg_catalog.left(pg_catalog.md5(ROW(${by.join(', ')})::text), 3))::bit(12)::int & ${chunks - 1}`;
}

/** Rows and sum of hashes per chunk, of the pages from $1 on and before $2. */
export function digestSql(side: TableSide, chunks: number): string {
  return digestOf(side, chunks, 'ctid >= $1::tid AND ctid < $2::tid');
}

/** The same of rows for which a condition holds. */
export function digestOf(side: TableSide, chunks: number, condition: string): string {
  return `
    SELECT chunk, pg_catalog.count(*)::text AS rows, pg_catalog.sum(hash)::text AS sum
      FROM (SELECT ${chunkNumber(side, chunks)} AS chunk, ('x' || pg_catalog.left(${rowMd5(side)}, 16))::bit(64)::bigint AS hash
              FROM ${side.sql} WHERE ${condition}) AS hashed
     GROUP BY chunk`;
}

/** Every row of the chunks in $1, or of all: chunk, md5, the identity's texts, what the filter reads. */
export function rowsSql(side: TableSide, chunks: number, filter: RowFilter | null, isAll: boolean): string {
  const chunk = chunkNumber(side, chunks);
  return `
    SELECT ${chunk} AS chunk, ${rowMd5(side)} AS md5, ${keyTexts(side)} AS key, ${filterTexts(filter)} AS filter
      FROM ${side.sql} ${isAll ? '' : `WHERE (${chunk}) = ANY ($1::int[])`}`;
}

/** Rows of the chunks that a parameter names: md5, the identity's texts, the beginnings of the columns' md5s one after another. */
export function hashedRowsSql(side: TableSide, chunks: number, parameter: string): string {
  const columns = side.columns.map((column) => `pg_catalog.left(pg_catalog.md5(ROW(${column})::text), ${HASH_DIGITS})`);
  return `
    SELECT ${rowMd5(side)} AS md5, ${keyTexts(side)} AS key, ${side.key.length === 0 ? "''" : `pg_catalog.concat(VARIADIC ARRAY[${columns.join(', ')}])`} AS columns
      FROM ${side.sql} WHERE (${chunkNumber(side, chunks)}) = ANY (${parameter}::int[])`;
}

/**
 * One statement that reads rows by their identity, each with its version, together with a position: the snapshot is taken
 * first, so what the position's expression gives is from after it. $1 …: the identity's columns, one array each. `hashes`: what tells
 * the values, a list of texts.
 */
export function lookUpSql(
  side: TableSide,
  filter: RowFilter | null,
  position: string,
  hashes: string = columnMd5s(side),
): string {
  const { key } = side;
  const wanted = key.map((_, index) => `k${index}`);
  const match = key
    .map((column, index) => `t.${column.sql} ${column.equals} ${castText(column, `w.k${index}`)}`)
    .join(' AND ');
  const arrays = key.map((_, index) => `$${index + 1}::text[]`).join(', ');
  return `
    SELECT (${position})::text AS position, w.n::int AS n, found.xmin, found.hashes, found.filter
      FROM unnest(${arrays}) WITH ORDINALITY AS w(${wanted.join(', ')}, n)
      LEFT JOIN LATERAL (SELECT t.xmin::text AS xmin, ${hashes} AS hashes, ${filterTexts(filter)} AS filter
                           FROM ${side.sql} AS t WHERE ${match}) AS found ON true`;
}

/**
 * The same for a table without identity: $1 holds rows' md5s; a version is who wrote the equal rows, its hash their number.
 * What the filter reads may not be among the compared columns, so equal rows may come in several groups.
 */
export function countSql(side: TableSide, filter: RowFilter | null, position: string): string {
  return `
    SELECT (${position})::text AS position, w.n::int AS n, found.xmin, ARRAY[found.rows::text] AS hashes, found.filter
      FROM unnest($1::text[]) WITH ORDINALITY AS w(md5, n)
      LEFT JOIN (SELECT md5, filter, pg_catalog.count(*) AS rows, pg_catalog.string_agg(xmin, ' ' ORDER BY xmin) AS xmin
                   FROM (SELECT ${rowMd5(side)} AS md5, xmin::text AS xmin, ${filterTexts(filter)} AS filter FROM ${side.sql}) AS hashed
                  WHERE md5 = ANY ($1::text[]) GROUP BY md5, filter) AS found ON found.md5 = w.md5`;
}

/** The compared columns as a list of the texts that their types print; `row`: what stands before a column's name. */
export function outputTexts(side: TableSide, row: string): string {
  const text = (column: string): string =>
    `CASE WHEN ${row}${column} IS NOT NULL THEN pg_catalog.format('%s', ${row}${column}) END`;
  return `ARRAY[${side.columns.map(text).join(', ')}]::text[]`;
}

function keyTexts(side: TableSide): string {
  return side.key.length === 0 ? 'NULL::text[]' : `ARRAY[${side.key.map(({ sql }) => `${sql}::text`).join(', ')}]`;
}

/** A NULL's hash is that of an empty record, so it differs from every value's. */
function columnMd5s(side: TableSide): string {
  return `ARRAY[${side.columns.map((column) => `pg_catalog.md5(ROW(t.${column})::text)`).join(', ')}]::text[]`;
}

/** As the pipeline's events have them: boolean output is t or f, where a cast to text says true or false. */
function filterTexts(filter: RowFilter | null): string {
  if (filter === null) return 'NULL::text[]';
  return `ARRAY[${filter.columns.map((column) => `CASE WHEN ${column} IS NOT NULL THEN pg_catalog.format('%s', ${column}) END`).join(', ')}]::text[]`;
}
