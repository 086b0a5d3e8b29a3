import fc from 'fast-check';
import { quoteIdentifier, quoteTable } from '#core/table-name.ts';

/** A table that was made up, and what statements about it need to know. */
export interface RandomTable {
  readonly sql: string;
  readonly ddl: string;
  readonly columns: readonly RandomColumn[];
}

export interface RandomColumn {
  readonly sql: string;
  /** SQL expressions of values, NULL among them where the column may be. */
  readonly value: fc.Arbitrary<string>;
}

/** Statements of one transaction, each to be undone alone when the source refuses it. */
export interface RandomTransaction {
  readonly statements: readonly string[];
  readonly end: 'COMMIT' | 'ROLLBACK';
}

const IDENTITIES = ['key', 'twoKeys', 'keyFull', 'full', 'index', 'keyAndUnique', 'deferrable', 'partitioned'] as const;
const NAMES = ['id', '__proto__', '1', '0', 'a.b', 'A', 'constructor', 'quote"d', 'null', '😀'] as const;
const quote = (text: string): string => `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
const words = fc.string({
  unit: fc.constantFrom('a', 'B', ' ', '\\', '"', "'", ',', '{', '}', '\t', '\n', 'é', '😀', 'N', '%', '$1'),
  maxLength: 8,
});
const big = fc
  .tuple(fc.integer({ min: 0, max: 99 }), fc.integer({ min: 1, max: 300 }))
  .map(([seed, blocks]) => `(SELECT string_agg(md5(n || '.${seed}'), '') FROM generate_series(1, ${blocks}) n)`);
const small = fc.integer({ min: -5, max: 40 });

/** Few different values, so that keys meet; and the odd ones of each type. */
const TYPES: readonly { readonly type: string; readonly isKey: boolean; readonly value: fc.Arbitrary<string> }[] = [
  { type: 'int4', isKey: true, value: small.map((n) => `(${n})`) },
  {
    type: 'int8',
    isKey: true,
    value: fc.oneof(
      small.map((n) => `(${n})`),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((n) => `'${n}'`),
    ),
  },
  {
    type: 'numeric',
    isKey: true,
    value: fc.oneof(
      fc.tuple(small, fc.constantFrom('', '.0', '.00', '.10')).map(([n, tail]) => `'${n}${tail}'`),
      fc.constantFrom(`'NaN'`, `'Infinity'`),
    ),
  },
  { type: 'text', isKey: true, value: words.map(quote) },
  { type: 'char(4)', isKey: true, value: fc.constantFrom(`''`, `'a'`, `'a  '`, `'\\'`) },
  {
    type: 'timestamptz',
    isKey: true,
    value: fc.oneof(
      fc.constantFrom(`'infinity'`, `'0044-03-15 00:00:00+00 BC'`),
      small.map((n) => `'2021-03-28 01:00:00+00'::timestamptz + ${n} * interval '17.000001 min'`),
    ),
  },
  {
    type: 'float8',
    isKey: true,
    value: fc.oneof(
      fc.constantFrom(`'NaN'`, `'-0'`, `'0'`, `'5e-324'`),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => `'${n}'`),
    ),
  },
  {
    type: 'bytea',
    isKey: true,
    value: fc.uint8Array({ maxLength: 4 }).map((bytes) => `'\\x${Buffer.from(bytes).toString('hex')}'`),
  },
  { type: 'bool', isKey: false, value: fc.constantFrom('true', 'false') },
  { type: 'text', isKey: false, value: big },
  { type: 'json', isKey: false, value: words.map((text) => quote(`{"a" : ${JSON.stringify(text)},"a":1.0}`)) },
  { type: 'jsonb', isKey: false, value: words.map((text) => quote(JSON.stringify({ [text]: [text, 1.5] }))) },
  {
    type: 'text[]',
    isKey: false,
    value: fc
      .array(fc.option(words), { maxLength: 3 })
      .map((list) => `ARRAY[${list.map((one) => (one === null ? 'NULL' : quote(one))).join(',')}]::text[]`),
  },
  { type: 'point', isKey: false, value: fc.tuple(fc.double(), fc.double()).map(([x, y]) => `'(${x},${y})'`) },
  { type: 'interval', isKey: false, value: small.map((n) => `${n} * interval '1 mon -3 days 04:05:06.7'`) },
];

/** Tables of every kind of identity, the first ones one of each. */
export function randomTables(seed: number, count: number): RandomTable[] {
  return Array.from({ length: count }, (_, index) => {
    const identity = IDENTITIES[index % IDENTITIES.length] ?? 'key';
    return sample(randomTable(identity, index), seed + index);
  });
}

/** The n-th transaction over these tables. */
export function randomTransaction(tables: readonly RandomTable[], seed: number, n: number): RandomTransaction {
  const transaction = fc.record({
    statements: fc.array(
      fc.constantFrom(...tables).chain((table) => statement(table, tables)),
      { minLength: 1, maxLength: 8 },
    ),
    end: fc.oneof(
      { weight: 6, arbitrary: fc.constant('COMMIT' as const) },
      { weight: 1, arbitrary: fc.constant('ROLLBACK' as const) },
    ),
  });
  return sample(transaction, seed * 10_007 + n);
}

/** Rows for the snapshot. */
export function randomRows(table: RandomTable, seed: number): string {
  return sample(insert(table, 10), seed);
}

function sample<T>(arbitrary: fc.Arbitrary<T>, seed: number): T {
  const [value] = fc.sample(arbitrary, { seed, numRuns: 1 });
  if (value === undefined) throw new Error('nothing was sampled');
  return value;
}

function randomTable(identity: (typeof IDENTITIES)[number], index: number): fc.Arbitrary<RandomTable> {
  const keyTypes = fc.constantFrom(...TYPES.filter((type) => type.isKey));
  const types = fc.tuple(keyTypes, keyTypes, fc.array(fc.constantFrom(...TYPES), { minLength: 1, maxLength: 5 }));
  return types.map(([first, second, rest]) => {
    const isKeyed = identity !== 'full';
    const columns = [first, second, ...rest].map(({ type, value }, at) => {
      const isNullable = at > 1 || !isKeyed;
      const name = quoteIdentifier(NAMES[(at * 3 + index) % NAMES.length] ?? `c${at}`);
      return {
        sql: name,
        ddl: `${name} ${type}${isNullable ? '' : ' NOT NULL'}`,
        value: isNullable
          ? fc.oneof({ weight: 5, arbitrary: value }, { weight: 1, arbitrary: fc.constant('NULL') })
          : value,
      };
    });
    const sql = quoteTable({ schema: 'public', table: `random ${index}` });
    return { sql, columns, ddl: ddlOf(identity, index, sql, columns) };
  });
}

function ddlOf(
  identity: (typeof IDENTITIES)[number],
  index: number,
  sql: string,
  columns: readonly { readonly sql: string; readonly ddl: string }[],
): string {
  const [first = '', second = ''] = columns.map((column) => column.sql);
  const list = columns.map((column) => column.ddl).join(', ');
  const table = (more: string): string => `CREATE TABLE ${sql} (${list}${more})`;
  const full = `; ALTER TABLE ${sql} REPLICA IDENTITY FULL`;
  switch (identity) {
    case 'key':
      return table(`, PRIMARY KEY (${first})`);
    case 'twoKeys':
      return table(`, PRIMARY KEY (${second}, ${first})`);
    case 'keyFull':
      return table(`, PRIMARY KEY (${first})`) + full;
    case 'full':
      return table('') + full;
    case 'index':
      return `${table(`, PRIMARY KEY (${first})`)}; CREATE UNIQUE INDEX random_${index} ON ${sql} (${second}); ALTER TABLE ${sql} REPLICA IDENTITY USING INDEX random_${index}`;
    case 'keyAndUnique':
      return table(`, PRIMARY KEY (${first}), UNIQUE (${second})`);
    case 'deferrable':
      return table(`, PRIMARY KEY (${first}) DEFERRABLE`) + full;
    case 'partitioned':
      return `${table(`, PRIMARY KEY (${first})`)} PARTITION BY HASH (${first});
        CREATE TABLE public.random_${index}_0 PARTITION OF ${sql} FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE public.random_${index}_1 PARTITION OF ${sql} FOR VALUES WITH (MODULUS 2, REMAINDER 1)`;
  }
}

function statement(table: RandomTable, tables: readonly RandomTable[]): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 8, arbitrary: insert(table, 4) },
    { weight: 8, arbitrary: update(table) },
    { weight: 4, arbitrary: some(3).map((rows) => `DELETE FROM ${table.sql} t WHERE ${rows(table)}`) },
    {
      weight: 1,
      arbitrary: fc
        .uniqueArray(fc.constantFrom(...tables), { minLength: 1, maxLength: 3 })
        .map((list) => `TRUNCATE ${list.map((other) => other.sql).join(', ')}`),
    },
  );
}

function insert({ sql, columns }: RandomTable, most: number): fc.Arbitrary<string> {
  const row = fc.tuple(...columns.map((column) => column.value)).map((values) => `(${values.join(', ')})`);
  return fc
    .tuple(fc.array(row, { minLength: 1, maxLength: most }), fc.boolean())
    .map(
      ([rows, isLenient]) =>
        `INSERT INTO ${sql} VALUES ${rows.join(', ')}${isLenient ? ' ON CONFLICT DO NOTHING' : ''}`,
    );
}

/** Sets some columns, the key's as likely as others. */
function update(table: RandomTable): fc.Arbitrary<string> {
  const assignment = fc
    .constantFrom(...table.columns)
    .chain((column) => column.value.map((value) => [column.sql, value] as const));
  return fc
    .tuple(fc.uniqueArray(assignment, { minLength: 1, maxLength: 3, selector: ([name]) => name }), some(3))
    .map(
      ([set, rows]) =>
        `UPDATE ${table.sql} t SET ${set.map(([name, value]) => `${name} = ${value}`).join(', ')} WHERE ${rows(table)}`,
    );
}

/** A condition that takes at most so many rows, and often the same ones again. */
function some(most: number): fc.Arbitrary<(table: RandomTable) => string> {
  return fc.tuple(fc.integer({ min: 1, max: most }), fc.nat({ max: 4 })).map(
    ([count, salt]) =>
      ({ sql }) =>
        `(t.tableoid, t.ctid) IN (SELECT o.tableoid, o.ctid FROM ${sql} o ORDER BY md5(o::text || '${salt}'), o.tableoid, o.ctid LIMIT ${count})`,
  );
}
