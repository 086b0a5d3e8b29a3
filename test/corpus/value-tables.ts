import { quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';
import type { CorpusPart } from './part.ts';
import { typeCases } from './values.ts';

const COPIES = ['public.keyed_values', 'public.keyless_values'] as const;

/**
 * Every type in two wide tables, one with a key and one whose rows are found whole: row n holds the n-th value of every type.
 * The stream inserts all of them anew, exchanges every value for the next one, and deletes some.
 */
export function valueTables(version: 15 | 18): CorpusPart {
  const types = new Map<string, string[]>();
  for (const { type, values } of typeCases(version)) types.set(type, [...(types.get(type) ?? []), ...values]);
  const columns = [...types.keys()].map(quoteIdentifier).join(', ');
  const rows = Math.max(...[...types.values()].map((values) => values.length));
  const row = (n: number): string =>
    `SELECT ${n}, ${[...types].map(([type, values]) => `(${values[n % values.length] ?? 'NULL'})::${type}`).join(', ')}`;
  const all = Array.from({ length: rows }, (_, n) => n);
  const [keyed, keyless] = COPIES;
  const shift = `UPDATE ${keyed} t SET (${columns}) = (SELECT ${columns} FROM ${keyed} o WHERE o.id = 1000 + (t.id + 1) % ${rows}) WHERE t.id < ${rows}`;
  return {
    tables: `
      CREATE TABLE ${keyed} (id int4 PRIMARY KEY, ${[...types.keys()].map((type) => `${quoteIdentifier(type)} ${type}`).join(', ')});
      CREATE TABLE ${keyless} (LIKE ${keyed});
      ALTER TABLE ${keyless} REPLICA IDENTITY FULL;`,
    rows: `
      ${all.map((n) => `INSERT INTO ${keyed} (id, ${columns}) ${row(n)};`).join('\n')}
      INSERT INTO ${keyed} (id) VALUES (-1);
      INSERT INTO ${keyless} SELECT * FROM ${keyed};
      INSERT INTO ${keyless} SELECT * FROM ${keyed} WHERE id < 3;`,
    changes: [
      `INSERT INTO ${keyed} SELECT id + 1000, ${columns} FROM ${keyed}`,
      shift,
      `UPDATE ${keyed} SET id = id + 5000 WHERE id >= 1000 AND id % 2 = 0`,
      `DELETE FROM ${keyed} WHERE id % 5 = 0`,
      `INSERT INTO ${keyless} SELECT * FROM ${keyed} WHERE id > 1000`,
      `UPDATE ${keyless} SET id = id + 100000 WHERE id < 1000; DELETE FROM ${keyless} WHERE ctid IN (SELECT min(ctid) FROM ${keyless} GROUP BY id)`,
    ],
  };
}

/** Types with equality as keys: equal values may print differently. */
const KEYS: readonly (readonly [type: string, values: readonly [string, string, string], alias: string])[] = [
  ['numeric', ['1.0', '2', 'NaN'], '1.00'],
  ['float8', ['-0', '2', 'NaN'], '0'],
  ['float4', ['0.1', '-0', 'Infinity'], '0.1'],
  ['"Ext.Schema".citext', ['Abc', 'b', ''], 'aBC'],
  ['"Ext.Schema".ltree', ['Top.A', '', 'b.c'], 'Top.A'],
  ['"Ext.Schema".hstore', ['a=>1', '', 'b=>NULL'], '"a"=>"1"'],
  ['corpus.nick', ['Abc', 'b', ''], 'aBC'],
  ['corpus._amount', ['1.1', '2', '0'], '1.10'],
  ['corpus.mood', ['', "it's", '😀'], ''],
  ['corpus.pair', ['(1,"x,y",)', '(,,)', '(2,"",infinity)'], '(1,"x,y",)'],
  ['corpus.textrange', ['["a,b",c)', 'empty', '(,)'], '["a,b",c)'],
  ['text COLLATE corpus.nocase', ['Straße', 'B', ''], 'STRAßE'],
  ['text', ['a\tb', '', '\\N'], 'a\tb'],
  ['char(5)', ['a', '', 'b'], 'a  '],
  ['"char"', ['a', '', ','], 'a'],
  ['name', ['a b', '', 'x'], 'a b'],
  ['bytea', ['\\x00ff', '\\x', '\\x5c'], '\\x00FF'],
  ['int4[]', ['{1,NULL}', '{}', '{{1},{2}}'], '{1,NULL}'],
  ['"Ext.Schema".citext[]', ['{Abc}', '{}', '{b,c}'], '{aBC}'],
  ['jsonb', ['{"a":1.0}', '[]', 'null'], '{"a":1.00}'],
  ['interval', ['1 mon', '0', '-1 day'], '30 days'],
  ['timestamptz', ['2021-03-28 02:30:00+02', 'infinity', '0044-03-15 00:00:00+00 BC'], '2021-03-28 00:30:00+00'],
  ['timetz', ['24:00:00+02', '00:00:00-15', '12:00:00+05:45'], '24:00:00+02'],
  ['date', ['infinity', '0044-03-15 BC', '2000-02-29'], 'infinity'],
  ['inet', ['::1', '10.0.0.1/8', '0.0.0.0/0'], '::1/128'],
  ['varbit', ['', '1', '101'], ''],
  ['money', ['1', '-2', '0'], '1.00'],
  ['tsvector', ['a:1', '', 'b'], "'a':1"],
  ['pg_lsn', ['0/0', 'FF/1', '1/0'], '0/00'],
  ['xid8', ['0', '9007199254740993', '18446744073709551615'], '00'],
  ['oid', ['4294967295', '0', '1'], '4294967295'],
  ['regclass', ['-', 'pg_class', '4294967295'], '0'],
  ['bool', ['t', 'f', 'NULL'], 'true'],
];

export const KEY_TABLES: readonly TableName[] = KEYS.map(([type]) => ({ schema: 'public', table: `key ${type}` }));

/** One table per type, its key of that type: updates, equal keys that print otherwise, key changes, deletes. */
export function keyTables(): CorpusPart {
  const tables = KEYS.map(([type, values, alias], index) => {
    const name = quoteTable({ schema: 'public', table: `key ${type}` });
    const cast = type.split(' COLLATE')[0] ?? type;
    const one = (text: string): string =>
      text === 'NULL' && cast === 'bool' ? '' : `('${text.replaceAll("'", "''")}')::${cast}`;
    return { name, type, keys: values.map(one).filter((text) => text !== ''), alias: one(alias), index };
  });
  return {
    tables: tables
      .map(({ name, type }) => `CREATE TABLE ${name} (n int4, note text, k ${type} PRIMARY KEY);`)
      .join('\n'),
    rows: tables.map(({ name, keys }) => `INSERT INTO ${name} VALUES (1, 'snapshot', ${keys[0]});`).join('\n'),
    changes: [
      tables
        .map(({ name, keys }) =>
          keys
            .slice(1)
            .map((key) => `INSERT INTO ${name} VALUES (5, 'stream', ${key})`)
            .join(';'),
        )
        .join(';'),
      tables
        .map(({ name }) => `UPDATE ${name} SET n = n + 10; UPDATE ${name} SET note = note || '!' WHERE n = 11`)
        .join(';'),
      tables
        .map(
          ({ name, alias }) =>
            `UPDATE ${name} SET k = ${alias} WHERE n = 11; UPDATE ${name} SET n = 12 WHERE n = 11 AND k = ${alias}`,
        )
        .join(';'),
      tables
        .map(
          ({ name, keys }) =>
            `DELETE FROM ${name} WHERE k = ${keys[1]}; UPDATE ${name} SET k = ${keys[1]}, n = 50 WHERE n = 12`,
        )
        .join(';'),
    ],
  };
}
