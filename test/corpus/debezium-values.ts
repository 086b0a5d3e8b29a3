/** Types as both sides are asked about them: a column each, its values as literals, row n holds the n-th. */
const COLUMNS: readonly (readonly [name: string, type: string, values: readonly (string | null)[]])[] = [
  ['c_bool', 'bool', ['t', 'f']],
  ['c_bit', 'bit', ['1', '0']],
  ['c_bit5', 'bit(5)', ['10101', '00001']],
  ['c_bit70', 'bit(70)', ['1'.repeat(70), '01'.repeat(35)]],
  ['c_varbit10', 'varbit(10)', ['101', '0001']],
  ['c_varbit', 'varbit', ['1', '10000000001']],
  ['c_int2', 'int2', ['-32768', '32767']],
  ['c_int4', 'int4', ['-2147483648', '2147483647']],
  ['c_int8', 'int8', ['-9223372036854775808', '9007199254740993']],
  ['c_oid', 'oid', ['4294967295', '0']],
  ['c_float4', 'float4', ['0.1', '-3.4028235e38', '1e-45']],
  ['c_float8', 'float8', ['0.30000000000000004', '1.7976931348623157e308', '-0']],
  ['c_floats', 'float8', ['NaN', 'Infinity', '-Infinity']],
  ['c_numeric', 'numeric(10,2)', ['99999999.99', '-0.01', '0']],
  ['c_numeric_wide', 'numeric(38,10)', ['-1234567890123456789012345678.0123456789', '1']],
  ['c_numeric_free', 'numeric', ['1.50', '-12345678901234567890.123', '1000']],
  ['c_numeric_int', 'numeric(12)', ['123456789012', '-1']],
  ['c_money', 'money', ['1234567.89', '-0.01', '0']],
  ['c_text', 'text', ['', 'tab\tnew\nline "quoted" \\ 😀', 'plain']],
  ['c_varchar', 'varchar(20)', ['é', 'NULL']],
  ['c_char', 'char(5)', ['ab', '']],
  ['c_name', 'name', ['a b', 'x']],
  ['c_citext', 'citext', ['Abc', '']],
  ['c_bytea', 'bytea', ['\\x00ff10', '\\x']],
  ['c_json', 'json', [' { "b" : 1.0, "b": 2 }', '[]']],
  ['c_jsonb', 'jsonb', ['{"a": {"b": [1, null]}}', 'null']],
  ['c_xml', 'xml', ['<a b="c">&amp;</a>', '']],
  ['c_uuid', 'uuid', ['00000000-0000-0000-0000-00000000000f', 'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF']],
  ['c_hstore', 'hstore', ['a=>1, "b c"=>NULL', '']],
  ['c_date', 'date', ['1970-01-01', '2000-02-29', '1900-02-28']],
  ['c_time', 'time', ['23:59:59.999999', '00:00:00', '12:34:56.7']],
  ['c_time0', 'time(0)', ['23:59:58', '01:02:03']],
  ['c_time3', 'time(3)', ['23:59:58.123', '01:02:03']],
  ['c_timetz', 'timetz', ['02:30:00.5+05:45', '23:00:00-03', '12:00:00+00']],
  ['c_timestamp', 'timestamp', ['1999-12-31 23:59:59.999999', '2021-03-28 02:30:00', '1969-12-31 23:59:59.5']],
  ['c_timestamp0', 'timestamp(0)', ['2000-01-01 00:00:00', '1960-05-05 05:05:05']],
  ['c_timestamp3', 'timestamp(3)', ['2000-01-01 00:00:00.123', '1960-05-05 05:05:05.5']],
  [
    'c_timestamptz',
    'timestamptz',
    ['2021-03-28 02:30:00+02', '1999-12-31 23:59:59.999999+00', '1883-11-18 12:03:58+00'],
  ],
  ['c_timestamptz2', 'timestamptz(2)', ['2000-01-01 00:00:00.25+00', '2000-01-01 00:00:00+00']],
  ['c_timestamptz_ends', 'timestamptz', ['infinity', '-infinity']],
  ['c_timestamp_ends', 'timestamp', ['infinity', '-infinity']],
  ['c_interval', 'interval', ['1 year 2 mons 3 days 04:05:06.789', '-1 mon +1 day -00:00:00.000001', '100:00:00']],
  ['c_mood', 'mood', ['happy', 'sad']],
  ['c_amount', 'amount', ['12345.678', '-0.5']],
  ['c_code', 'code', ['abc', '']],
  ['c_pair', 'pair', ['(1,x)', '(,)']],
  ['c_int4range', 'int4range', ['[1,5)', 'empty']],
  ['c_int8range', 'int8range', ['[9007199254740993,)', '(,)']],
  ['c_numrange', 'numrange', ['[1.10,2]', '(,0)']],
  ['c_tsrange', 'tsrange', ['[2000-01-01 00:00:00,infinity)', 'empty']],
  ['c_tstzrange', 'tstzrange', ['[2021-03-28 02:30:00+02,)', 'empty']],
  ['c_daterange', 'daterange', ['[2000-02-29,2000-02-29]', '(,)']],
  ['c_int4multirange', 'int4multirange', ['{[1,2),[5,7)}', '{}']],
  ['c_inet', 'inet', ['10.1.2.3/8', '::1']],
  ['c_cidr', 'cidr', ['10.0.0.0/8', '::/0']],
  ['c_macaddr', 'macaddr', ['08:00:2b:01:02:03', '00:00:00:00:00:00']],
  ['c_macaddr8', 'macaddr8', ['08:00:2b:ff:fe:01:02:03', '00:00:00:00:00:00:00:00']],
  ['c_ltree', 'ltree', ['Top.A.b', '']],
  ['c_tsvector', 'tsvector', ["'a':1A 'fat':2B,4C", '']],
  ['c_tsquery', 'tsquery', ["'fat' & 'rat'", '']],
  ['c_pg_lsn', 'pg_lsn', ['16/B374D848', '0/0']],
  ['c_jsonpath', 'jsonpath', ['$."a"[*]', '$']],
  ['c_xid', 'xid', ['4294967295', '1']],
  ['c_point', 'point', ['(1.5,-2)', '(0,0)']],
  ['c_line', 'line', ['{1,-1,0}', '{0,1,2}']],
  ['c_box', 'box', ['(1,1),(0,0)', '(2,2),(1,1)']],
  ['c_polygon', 'polygon', ['((0,0),(1,1),(2,0))', '((0,0))']],
  ['c_circle', 'circle', ['<(0,0),1>', '<(1,2),3>']],
  ['a_int2', 'int2[]', ['{1,NULL,-3}', '{}']],
  ['a_int4', 'int4[]', ['{1,NULL,-3}', '{}']],
  ['a_int8', 'int8[]', ['{9007199254740993,NULL}', '{}']],
  ['a_text', 'text[]', ['{"",NULL,"NULL",a b,"{}","\\"","\\\\","a,b"}', '{}']],
  ['a_varchar', 'varchar(9)[]', ['{abc,""}', '{}']],
  ['a_char', 'char(3)[]', ['{a,"  b"}', '{}']],
  ['a_numeric', 'numeric(6,3)[]', ['{1.1,-0.001,NULL}', '{}']],
  ['a_numeric_free', 'numeric[]', ['{1.10,-7}', '{}']],
  ['a_float4', 'float4[]', ['{0.1,NULL}', '{}']],
  ['a_float8', 'float8[]', ['{0.30000000000000004,NULL}', '{}']],
  ['a_bool', 'bool[]', ['{t,f,NULL}', '{}']],
  ['a_date', 'date[]', ['{2000-02-29,NULL}', '{}']],
  ['a_time', 'time[]', ['{23:59:59.999999}', '{}']],
  ['a_timestamp', 'timestamp[]', ['{"1999-12-31 23:59:59.999999",NULL}', '{}']],
  ['a_timestamptz', 'timestamptz[]', ['{"2021-03-28 02:30:00+02",NULL}', '{}']],
  ['a_uuid', 'uuid[]', ['{00000000-0000-0000-0000-00000000000f,NULL}', '{}']],
  ['a_json', 'json[]', ['{"{\\"a\\":1}",NULL}', '{}']],
  ['a_jsonb', 'jsonb[]', ['{"{\\"a\\": 1}",null}', '{}']],
  ['a_inet', 'inet[]', ['{10.1.2.3/8,NULL}', '{}']],
  ['a_bytea', 'bytea[]', ['{"\\\\x00ff",NULL}', '{}']],
  ['a_mood', 'mood[]', ['{happy,NULL}', '{}']],
  ['a_citext', 'citext[]', ['{Abc,NULL}', '{}']],
  ['a_hstore', 'hstore[]', ['{"\\"a\\"=>\\"1\\"",NULL}', '{}']],
  ['a_ltree', 'ltree[]', ['{Top.A,b}', '{x}']],
  ['a_oid', 'oid[]', ['{4294967295,NULL}', '{}']],
  ['a_money', 'money[]', ['{1.5}', '{}']],
  ['a_int4range', 'int4range[]', ['{"[1,2)",NULL}', '{}']],
];

const ROWS = 4;

const TYPES_SQL = `
  CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree;
  CREATE TYPE mood AS ENUM ('happy', 'sad', 'so so');
  CREATE DOMAIN amount AS numeric(8,3);
  CREATE DOMAIN code AS varchar(12);
  CREATE TYPE pair AS (a int4, b text);`;

function literal(value: string | null): string {
  return value === null ? 'NULL' : `'${value.replaceAll("'", "''")}'`;
}

function insert(id: number, row: number): string {
  const values = COLUMNS.map(([, type, list]) => `${literal(list[row] ?? null)}::${type}`);
  return `INSERT INTO typed VALUES (${id}, ${values.join(', ')});`;
}

/** Made before either side looks. */
export const DEBEZIUM_TABLES_SQL = `${TYPES_SQL}
  CREATE TABLE typed (id int4 PRIMARY KEY, ${COLUMNS.map(([name, type]) => `${name} ${type}`).join(', ')});
  CREATE TABLE required (
    id serial PRIMARY KEY, b bool NOT NULL DEFAULT true, i2 int2 NOT NULL DEFAULT 7, i4 int4 NOT NULL, i8 int8 NOT NULL DEFAULT 9007199254740993,
    f4 float4 NOT NULL DEFAULT 1.5, f8 float8 NOT NULL, n numeric(10,2) NOT NULL DEFAULT 1.5, nf numeric NOT NULL, m money NOT NULL,
    t text NOT NULL DEFAULT 'it''s', v varchar(10) NOT NULL DEFAULT upper('x'), c char(3) NOT NULL DEFAULT 'a', by bytea NOT NULL, j json NOT NULL DEFAULT '{"a":1}',
    jb jsonb NOT NULL, x xml NOT NULL, u uuid NOT NULL DEFAULT gen_random_uuid(), h hstore NOT NULL, d date NOT NULL DEFAULT '2000-02-29',
    tm time NOT NULL DEFAULT '12:34:56', tz timetz NOT NULL, ts timestamp NOT NULL DEFAULT '2000-01-01 00:00:01', tst timestamptz NOT NULL DEFAULT now(),
    iv interval NOT NULL DEFAULT '1 day', e mood NOT NULL DEFAULT 'so so', b1 bit NOT NULL DEFAULT B'1', b5 bit(5) NOT NULL DEFAULT B'10101', vb varbit(9) NOT NULL,
    r int4range NOT NULL, ip inet NOT NULL, p point NOT NULL, lt ltree NOT NULL, tv tsvector NOT NULL, ai int4[] NOT NULL DEFAULT '{1}', at text[] NOT NULL,
    ci citext NOT NULL, nm name NOT NULL, o oid NOT NULL, dm amount NOT NULL DEFAULT 2.5, optional int4 DEFAULT 5, opt_text text DEFAULT NULL, opt_now timestamp DEFAULT now());
  CREATE TABLE toasted (id int4 PRIMARY KEY, n int4, t text, j jsonb, b bytea, ti text[], ii int4[], li int8[], u uuid[], h hstore, x numeric, nn text NOT NULL);
  CREATE TABLE whole (id int4 PRIMARY KEY, n int4, t text);
  CREATE TABLE keyless (a int4, b text);
  CREATE TABLE by_index (a int4 NOT NULL, b text NOT NULL, c text, UNIQUE (b));
  CREATE TABLE pairs (b text, a int4, c numeric(5,1), PRIMARY KEY (a, b));
  CREATE TABLE generated (id int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int4, twice int4 GENERATED ALWAYS AS (a * 2) STORED);
  CREATE TABLE stock (id int8 PRIMARY KEY, name text NOT NULL, price numeric(12,2), made timestamptz, day date, at timestamp(3), open bool, many int4, ratio float8,
    doc jsonb, uid uuid, bin bytea, small int2, hour time, note varchar(40));
  CREATE TABLE cleared (id int8 PRIMARY KEY, at timestamptz);
  ALTER TABLE toasted ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL, ALTER ti SET STORAGE EXTERNAL,
    ALTER ii SET STORAGE EXTERNAL, ALTER li SET STORAGE EXTERNAL, ALTER u SET STORAGE EXTERNAL, ALTER h SET STORAGE EXTERNAL, ALTER x SET STORAGE EXTERNAL, ALTER nn SET STORAGE EXTERNAL;
  ALTER TABLE whole ALTER t SET STORAGE EXTERNAL;
  ALTER TABLE whole REPLICA IDENTITY FULL;
  ALTER TABLE keyless REPLICA IDENTITY FULL;
  ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_b_key;`;

const REQUIRED = `INSERT INTO required (i4, f8, nf, m, by, jb, x, h, tz, vb, r, ip, p, lt, tv, at, ci, nm, o, opt_now)
  VALUES (1, 2.5, 3.250, 4.5, '\\x01', '{}', '<a/>', 'k=>v', '12:00+02', '101', '[1,2)', '::1', '(1,2)', 'a.b', 'a:1', '{x}', 'C', 'n', 3, '2001-01-01')`;
const BIG = `(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 200) n)`;

/** What the snapshots find. */
export const DEBEZIUM_ROWS_SQL = `
  ${Array.from({ length: ROWS }, (_, row) => insert(row, row)).join('\n')}
  ${REQUIRED};
  INSERT INTO toasted SELECT 1, 1, ${BIG}, jsonb_build_object('k', ${BIG}), decode(${BIG}, 'hex'), ARRAY[${BIG}],
    (SELECT array_agg(n) FROM generate_series(1, 2000) n), (SELECT array_agg(n::int8) FROM generate_series(1, 2000) n),
    (SELECT array_agg(md5(n::text)::uuid) FROM generate_series(1, 400) n), hstore('k', ${BIG}), repeat('123456789', 900)::numeric, ${BIG};
  INSERT INTO whole SELECT 1, 1, ${BIG};
  INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
  INSERT INTO by_index VALUES (1, 'k', 'x');
  INSERT INTO pairs VALUES ('x', 1, 1.5), ('y', 1, NULL);
  INSERT INTO generated (a) VALUES (4);
  INSERT INTO stock SELECT n, 'item ' || n, n + 0.25, '2020-01-01 12:00:00.5+02'::timestamptz + n * interval '1 day', date '2020-02-28' + n, '1999-12-31 23:59:59.5', n % 2 = 0, -n,
    n / 3.0, jsonb_build_object('n', n), md5(n::text)::uuid, decode(md5(n::text), 'hex'), n, '23:59:59.123456', CASE WHEN n % 3 = 0 THEN NULL ELSE 'é ' || n END
    FROM generate_series(1, 50) n;
  INSERT INTO cleared VALUES (1, '2000-01-01 00:00:00.5+00');`;

/** What both streams see, a transaction each. */
export const DEBEZIUM_CHANGES: readonly string[] = [
  Array.from({ length: ROWS }, (_, row) => insert(100 + row, row)).join('\n'),
  `UPDATE typed SET c_text = 'changed', c_int8 = 5 WHERE id < 2; DELETE FROM typed WHERE id = 103`,
  `UPDATE typed SET id = 500, c_text = 'moved' WHERE id = 100`,
  `${REQUIRED}; UPDATE required SET i4 = 2; DELETE FROM required WHERE id = 1`,
  `UPDATE required SET id = 77 WHERE id = 2`,
  `UPDATE toasted SET n = 2`,
  `UPDATE toasted SET id = 2`,
  `UPDATE whole SET n = 2; UPDATE whole SET id = 3; DELETE FROM whole`,
  `INSERT INTO keyless VALUES (2, 'y'); UPDATE keyless SET b = 'z' WHERE a = 2; DELETE FROM keyless WHERE a IS NULL`,
  `UPDATE by_index SET c = 'y'; UPDATE by_index SET b = 'l'; UPDATE by_index SET a = 9; DELETE FROM by_index`,
  `INSERT INTO pairs VALUES ('z', 3, 9.9); UPDATE pairs SET c = 0 WHERE b = 'x'; UPDATE pairs SET a = 4 WHERE b = 'y'; DELETE FROM pairs WHERE a = 3`,
  `INSERT INTO generated (a) VALUES (5); UPDATE generated SET a = 6 WHERE a = 4`,
  `INSERT INTO stock SELECT id + 100, name, price * 2, made, day, at, NULL, many, ratio, doc, uid, bin, small, hour, note FROM stock WHERE id < 20;
   UPDATE stock SET price = NULL, name = name || '!' WHERE id % 5 = 0; UPDATE stock SET id = id + 1000 WHERE id % 7 = 0; DELETE FROM stock WHERE id % 11 = 0`,
  `ALTER TABLE pairs ADD COLUMN later int8 NOT NULL DEFAULT 7; INSERT INTO pairs VALUES ('w', 9, 1, 9007199254740993); DELETE FROM pairs WHERE a = 4`,
  `INSERT INTO cleared VALUES (2, 'infinity'); TRUNCATE cleared; INSERT INTO cleared VALUES (3, NULL)`,
];

export const DEBEZIUM_TABLE_NAMES = [
  'typed',
  'required',
  'toasted',
  'whole',
  'keyless',
  'by_index',
  'pairs',
  'generated',
  'stock',
  'cleared',
] as const;
