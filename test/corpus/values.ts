import { quoted, typed, type TypeCase } from './type-case.ts';
import { ARRAYS, MADE, SYSTEM } from './values-made.ts';

const raw = String.raw;

const TEXTS = [
  '',
  ' ',
  'NULL',
  raw`\N`,
  raw`\.`,
  '\\',
  '"',
  "'",
  '{}',
  'a\tb\nc\rd\u000be\u0008f\u000cg',
  '\r\n',
  '\u0001\u001f\u007f\u0080\u009f',
  '\ufeffbom',
  '\u2028\u2029\uffff\ufdd0',
  '👩‍👩‍👧‍👦 e\u0301 \u{10ffff}',
  raw`\u0000 \x00 \n`,
  '$1 ${x} %s %I',
  ',"source":{"op":"d"}',
] as const;

const TIMES = ['00:00:00', '24:00:00', '23:59:59.999999', '23:59:60', '00:00:00.000001'] as const;
const DATES = [
  '-infinity',
  'infinity',
  '4714-11-24 BC',
  '5874897-12-31',
  '0001-01-01',
  '0001-12-31 BC',
  '0044-03-15 BC',
  '1582-10-10',
  '1900-02-28',
  '2000-02-29',
  '10000-01-01',
  '0099-12-31',
] as const;
const STAMPS = [
  '-infinity',
  'infinity',
  '4714-11-24 00:00:00 BC',
  '294276-12-31 23:59:59.999999',
  '1999-12-31 23:59:59.999999',
  '2016-12-31 23:59:60',
  '2021-03-28 02:30:00',
  '2021-10-31 02:30:00',
  '0001-01-01 00:00:00.000001 BC',
  '1883-11-18 12:03:58',
  '2038-01-19 03:14:08',
] as const;
const INTERVALS = [
  '0',
  '-1 year 2 mons -3 days +04:05:06.789',
  '1 day -00:00:00.000001',
  '-1 day +23:59:59',
  '178000000 years',
  '-178000000 years',
  '2147483647 days',
  '-2147483648 days',
  '2562047788:00:54.775807',
  '-2562047788:00:54.775807',
  '178956970 years 7 mons 2147483647 days 2562047788:00:54.775806',
  '100:00:00',
] as const;

const NUMBERS: readonly TypeCase[] = [
  { type: 'bool', values: ['true', 'false'] },
  { type: 'int2', values: ['-32768', '32767', '0', '-1'] },
  { type: 'int4', values: ['-2147483648', '2147483647', '0'] },
  typed('int8', ['-9223372036854775808', '9223372036854775807', '9007199254740993', '-9007199254740993']),
  {
    type: 'numeric',
    values: [
      ...quoted([
        '1.10',
        '1.1',
        '1.100000',
        '0',
        '0.000',
        '-0.000',
        'NaN',
        'Infinity',
        '-Infinity',
        '1e1000',
        '1e-1000',
      ]),
      `repeat('9', 131072)::numeric`,
      `('-' || repeat('1', 131072) || '.' || repeat('7', 16383))::numeric`,
      `('0.' || repeat('0', 16382) || '1')::numeric`,
    ],
  },
  typed('numeric(10,2)', ['99999999.99', '-0.01', '1.1', 'NaN']),
  typed('numeric(5,-2)', ['123456', '-9999900', '49']),
  typed('numeric(3,5)', ['0.00999', '-0.00001']),
  typed('float4', [
    'NaN',
    'Infinity',
    '-Infinity',
    '-0',
    '1e-45',
    '-1e-45',
    '1.17549435e-38',
    '3.4028235e38',
    '0.1',
    '16777217',
    '1e15',
  ]),
  typed('float8', [
    'NaN',
    'Infinity',
    '-Infinity',
    '-0',
    '5e-324',
    '-5e-324',
    '2.2250738585072014e-308',
    '1.7976931348623157e308',
    '0.1',
    '0.30000000000000004',
    '9007199254740993',
    '1e22',
    '123456789012345680000',
  ]),
  typed('money', ['-92233720368547758.08', '92233720368547758.07', '0', '-0.01', '1234567.89']),
];

const STRINGS: readonly TypeCase[] = [
  {
    type: 'text',
    values: [
      ...TEXTS.map(literal),
      `repeat('äö😀', 100000)`,
      `(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 4000) n)`,
    ],
  },
  { type: 'varchar', values: TEXTS.map(literal) },
  { type: 'varchar(3)', values: [`''`, `'   '`, `'😀😀😀'`] },
  { type: 'bpchar', values: [`''`, `'  x  '`] },
  { type: 'char(5)', values: [`''`, `'ab'`, `'ab  '`, `'😀'`, `E'\\t'`] },
  { type: 'char(1)', values: [`' '`, `'"'`, `'\\'`] },
  {
    type: '"char"',
    values: [`''`, `'a'`, `' '`, `'\\'`, `'"'`, `E'\\\\201'`, `E'\\\\377'`, `E'\\n'`, `E'\\t'`, `','`],
  },
  { type: 'name', values: [`''`, `'a b"c'`, `repeat('x', 63)`, `'😀'`, `'NULL'`] },
  {
    type: 'bytea',
    values: [
      `''`,
      `(SELECT string_agg(decode(lpad(to_hex(n), 2, '0'), 'hex'), '' ORDER BY n) FROM generate_series(0, 255) n)`,
      `decode(repeat('5c', 10), 'hex')`,
      `decode((SELECT string_agg(md5(n::text), '') FROM generate_series(1, 4000) n), 'hex')`,
    ],
  },
  { type: 'uuid', values: [`'00000000-0000-0000-0000-000000000000'`, `'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF'`] },
  {
    type: 'json',
    values: quoted([
      '{"a":1,"a":2}',
      ' { "b" :\n\t1.00000000000000000000000000001e400 } ',
      raw`"\u0000"`,
      raw`{"\u0000":"\ud83d\ude00","__proto__":1}`,
      '12345678901234567890.10',
      '[]',
      'null',
      '""',
      raw`"\/"`,
      '-0',
      `{"k":${'['.repeat(100)}${']'.repeat(100)}}`,
    ]),
  },
  {
    type: 'jsonb',
    values: quoted([
      '{"a":1,"a":2}',
      '1.10',
      '-0',
      '12345678901234567890123456789.00',
      '1e1000',
      'null',
      '[]',
      '{"":{"":""}}',
      raw`"\ud83d\ude00\u0001\\"`,
      '{"1":1,"0":2,"__proto__":{}}',
    ]),
  },
  {
    type: 'jsonpath',
    values: quoted([
      '$',
      'strict $."a b"[*] ? (@.x > 1.10 && @ like_regex "^\\\\d+$" flag "i")',
      '$.datetime("HH24:MI")',
      '$[last - 1 to last]',
      '-$.a + 0.10e1',
    ]),
  },
  {
    type: 'xml',
    values: quoted([
      '',
      'text &amp; more',
      '<a/>',
      '<?xml version="1.0" encoding="UTF-8"?><a>é</a>',
      '<?xml version="1.1" standalone="yes"?>\n<r><![CDATA[<x>]]></r>',
      '<!DOCTYPE a [<!ENTITY b "c">]><a/>',
      '<a/><b/> tail',
      '<!-- c --><a b="&quot;">\n</a>',
    ]),
  },
  {
    type: 'tsvector',
    values: quoted(['', "a:1A fat:2B,4C cat:5D 'it''s':16383", raw`'back\\slash':1 'sp ace' '😀':3`]),
  },
  {
    type: 'tsquery',
    values: quoted(['', "'fat' & ('rat' | !'cat')", "'a':* <-> 'b':AB <5> 'c d'", raw`'back\\slash' & 'it''s'`]),
  },
];

const MOMENTS: readonly TypeCase[] = [
  typed('date', DATES),
  typed('time', TIMES),
  typed('time(3)', ['23:59:59.9996', '00:00:00.0004']),
  typed('timetz', [
    '24:00:00+15:59:59',
    '00:00:00-15:59:59',
    '02:30:00+05:45',
    '23:59:60+00',
    '12:00:00.000001-03:30:15',
  ]),
  typed('timestamp', STAMPS),
  typed('timestamp(0)', ['2000-01-01 23:59:59.5', '0001-01-01 BC']),
  typed('timestamptz', [
    ...STAMPS.map((stamp) =>
      stamp.endsWith('BC') || stamp.includes('inf') || stamp.startsWith('294276') ? stamp : `${stamp} Europe/Berlin`,
    ),
    '294276-12-31 23:59:59.999999+00',
    '1800-01-01 00:00:00 Asia/Kathmandu',
    '4714-11-24 00:00:00+00 BC',
  ]),
  typed('timestamptz(2)', ['2000-01-01 00:00:00.005+00']),
  typed('interval', INTERVALS),
  typed('interval(3)', ['1 mon -00:00:00.0006']),
  typed('interval year to month', ['-1 year 2 mons']),
  typed('interval day to second(2)', ['3 days -04:05:06.789']),
  { type: 'interval', since: 18, values: [`'infinity'`, `'-infinity'`] },
];

const NETWORK_AND_BITS: readonly TypeCase[] = [
  typed('bit', ['0', '1']),
  typed('bit(3)', ['000', '101']),
  typed('bit(70)', ['1'.repeat(70), '01'.repeat(35)]),
  typed('varbit', ['', '1', '0'.repeat(1000)]),
  typed('varbit(5)', ['', '10101']),
  typed('inet', ['0.0.0.0/0', '255.255.255.255', '10.1.2.3/8', '::', '::ffff:1.2.3.4/128', 'fe80::1/10', '::1/0']),
  typed('cidr', ['0.0.0.0/0', '10.0.0.0/8', '255.255.255.255/32', '::/0', 'fe80::/10']),
  typed('macaddr', ['00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff']),
  typed('macaddr8', ['00:00:00:00:00:00:00:00', '08:00:2b:ff:fe:01:02:03']),
];

const GEOMETRY: readonly TypeCase[] = [
  typed('point', [
    '(0,-0)',
    '(NaN,NaN)',
    '(Infinity,-Infinity)',
    '(5e-324,1.7976931348623157e308)',
    '(0.1,0.30000000000000004)',
  ]),
  typed('line', ['{1,-1,0}', '{0,1,NaN}', '{1,1e300,Infinity}']),
  typed('lseg', ['[(0,0),(NaN,1)]', '[(1,2),(3,4)]']),
  typed('box', ['(1,1),(0,0)', '(NaN,1),(0,NaN)', '(Infinity,1),(-Infinity,-0)']),
  typed('path', ['[(0,0),(1,1)]', '((0,0),(1,1),(NaN,2))', '[(0.1,-0)]']),
  typed('polygon', ['((0,0),(1,1),(2,0))', '((NaN,0))']),
  typed('circle', ['<(0,0),0>', '<(NaN,1),5e-324>', '<(1,2),Infinity>']),
];

const RANGES: readonly TypeCase[] = [
  typed('int4range', ['empty', '(,)', '[-2147483648,2147483647)', '[1,2]', '(,5]']),
  typed('int8range', ['[9007199254740993,9223372036854775807)']),
  typed('numrange', ['[1.10,1.1]', '(1.10,NaN)', '(-Infinity,Infinity)', '[1.100,)', 'empty']),
  typed('tsrange', ['["2000-01-01 00:00:00",infinity)', '(,"0044-03-15 00:00:00 BC"]']),
  typed('tstzrange', ['[2021-03-28 02:30:00+02,2021-10-31 02:30:00+01)', '(-infinity,infinity)']),
  typed('daterange', ['[2000-02-29,2000-02-29]', '[-infinity,infinity)', '(,0001-01-01 BC)']),
  typed('int4multirange', ['{}', '{(,1),[5,7),[9,)}']),
  typed('int8multirange', ['{[9007199254740993,9007199254740995)}']),
  typed('nummultirange', ['{[1.10,2.0),(3,NaN]}']),
  typed('tsmultirange', ['{["2000-01-01 24:00:00",)}']),
  typed('tstzmultirange', ['{["2000-01-01 00:00:00+05:45","2001-01-01 00:00:00+05:45"]}']),
  typed('datemultirange', ['{[2000-01-01,2000-02-01),[2001-01-01,)}']),
  typed('corpus.textrange', ['["a,b","c""d"]', '["",)', '[" ","NULL")', '(,"\\\\"]']),
  typed('corpus.textmultirange', ['{}', '{["a","b]"),["c(","d"]}']),
];

/** The types of a server of this version, each once or more often. */
export function typeCases(version: 15 | 18): TypeCase[] {
  return [NUMBERS, STRINGS, MOMENTS, NETWORK_AND_BITS, GEOMETRY, RANGES, SYSTEM, ARRAYS, MADE]
    .flat()
    .filter((one) => (one.since ?? 15) <= version);
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
