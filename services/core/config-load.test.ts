import { expect, test } from 'vitest';
import { loadConfig } from '#core/config-load.ts';
import { parseTableName } from '#core/table-text.ts';
import { RestageError } from '#core/errors.ts';

const SMALL = `
name: shop-1
kafka: { brokers: ["127.0.0.1:9092"] }
source: { postgres: { url: "\${SOURCE_URL}" } }
targets:
  - { name: new, postgres: { url: "\${TARGET_URL:-postgresql://t@h/t}" } }
`;
const ENV = { SOURCE_URL: 'postgresql://s:secret@h/s' };

function problemOf(text: string, env: Record<string, string | undefined> = ENV): string {
  try {
    loadConfig(text, 'shop.yaml', env);
  } catch (error) {
    expect(error).toBeInstanceOf(RestageError);
    expect((error as RestageError).code).toBe('config_invalid');
    return (error as RestageError).message;
  }
  throw new Error('the configuration was taken');
}

test('a small configuration gets every default', () => {
  expect(loadConfig(SMALL, 'shop.yaml', ENV)).toEqual({
    name: 'shop-1',
    file: 'shop.yaml',
    kafka: {
      brokers: ['127.0.0.1:9092'],
      ssl: false,
      sasl: null,
      replicationFactor: 1,
      partitions: 1,
      registryUrl: null,
    },
    source: {
      url: 'postgresql://s:secret@h/s',
      tables: ['*'],
      publication: 'restage_shop_1',
      slot: 'restage_shop_1',
      partitions: 'leaves',
      snapshotWorkers: 2,
      heartbeatMs: 10_000,
      onRewrite: 'snapshot',
      ddlTrigger: 'auto',
      keepSnapshotMinutes: 10,
      walBudget: { bytes: 10_737_418_240, whenFull: 'wait' },
      profile: null,
    },
    outputs: [],
    targets: [
      {
        name: 'new',
        url: 'postgresql://t@h/t',
        output: null,
        schema: 'copy',
        loadWorkers: 2,
        ordering: 'transaction',
        quarantine: 'stop',
        largeObjects: 'copy',
      },
    ],
    http: { host: '127.0.0.1', port: 0 },
    epoch: { bytes: 4_194_304, lingerMs: null, partBytes: 16_777_216 },
  });
});

test('rules keep names that objects would trip over', () => {
  const config = loadConfig(
    `${SMALL}
transform:
  outputs:
    - name: main
      rules:
        - table: public.old_orders
          rename: '"my.schema".orders'
          columns: { rename: { cust: customer_id, __proto__: p }, drop: [internal_note] }
          where: "amount >= 0"
`,
    'shop.yaml',
    ENV,
  );
  expect(config.targets[0]?.output).toBe('main');
  expect(config.outputs[0]?.rules[0]).toEqual({
    table: { schema: 'public', table: 'old_orders' },
    place: 'shop.yaml:12:18',
    rename: { schema: 'my.schema', table: 'orders' },
    renameColumns: new Map([
      ['cust', 'customer_id'],
      ['__proto__', 'p'],
    ]),
    dropColumns: ['internal_note'],
    where: 'amount >= 0',
  });
});

test('look-ups keep their place for what check says of them, and need the columns of the other key', () => {
  const rules = (lookUp: string): string => `${SMALL}
transform:
  outputs:
    - name: main
      rules:
        - { table: public.orders, state: true, lookUp: [${lookUp}] }
`;
  const config = loadConfig(rules('{ as: c, table: public.customers, on: { id: customer_id } }'), 'shop.yaml', ENV);
  expect(config.outputs[0]?.rules[0]).toMatchObject({
    state: true,
    lookUps: [
      {
        as: 'c',
        table: { schema: 'public', table: 'customers' },
        on: new Map([['id', 'customer_id']]),
        place: expect.stringMatching(/^shop\.yaml:\d+:\d+$/) as string,
      },
    ],
  });
  expect(problemOf(rules('{ as: c, table: public.customers }'))).toMatch(/shop\.yaml:\d+:\d+: .*needs on: /);
  expect(problemOf(rules('{ as: c, table: customers, on: { id: x } }'))).toContain('schema.table');
});

test('an unknown key names its place and the nearest known one', () => {
  expect(problemOf(SMALL.replace('brokers', 'borkers'))).toContain(
    'shop.yaml:3:10: unknown key "borkers" in kafka; did you mean "brokers"?',
  );
  expect(problemOf(`${SMALL}\nzzzzzzzzzz: 1\n`)).toContain('known here: name, kafka, source');
});

test('all problems come at once, without values', () => {
  const message = problemOf(`
name: Shop
kafka: { brokers: [nope], sasl: { password: topsecret } }
source: { postgres: { url: "mysql://u:topsecret@h" }, snapshotWorkers: many }
targets: [{ name: a, schema: guess }, { name: a, output: none }]
`);
  for (const part of [
    '2:7: name: a name is',
    '3:20: kafka.brokers: a broker is',
    'needs mechanism',
    'source.postgres.url: write it as',
    'source.snapshotWorkers: expected number',
    'targets[0].postgres.url is required',
    'targets[0].schema',
    'a second target named "a"',
    'no output is named "none"',
  ]) {
    expect(message).toContain(part);
  }
  expect(message).not.toContain('topsecret');
});

test('missing variables are named; set ones stay strings where strings are wanted', () => {
  expect(problemOf(SMALL, {})).toContain('shop.yaml:4:28: the environment variable SOURCE_URL is not set');
  const text = SMALL.replace('brokers', 'sasl: { mechanism: PLAIN, username: u, password: "${PW}" }, brokers');
  expect(loadConfig(`${text}\nhttp: { port: "\${PORT:-81}" }`, 'f', { ...ENV, PW: '12"34: }' })).toMatchObject({
    kafka: { sasl: { password: '12"34: }' } },
    http: { port: 81 },
  });
  expect(loadConfig(text, 'f', { ...ENV, PW: '$${X} ${Y}' }).kafka.sasl?.password).toBe('$${X} ${Y}');
  expect(loadConfig(text, 'f', { ...ENV, PW: '123' }).kafka.sasl?.password).toBe('123');
});

test('the environment takes the place of the file', () => {
  const config = loadConfig(SMALL, 'f', {
    ...ENV,
    RESTAGE_KAFKA_BROKERS: 'a:1, b:2',
    RESTAGE_EPOCH_LINGER_MS: '5',
    RESTAGE_KAFKA_SSL: 'true',
  });
  expect(config.kafka.brokers).toEqual(['a:1', 'b:2']);
  expect(config.kafka.ssl).toBe(true);
  expect(config.epoch.lingerMs).toBe(5);
  expect(problemOf(SMALL, { ...ENV, RESTAGE_HTTP_PORT: 'x' })).toContain(
    'RESTAGE_HTTP_PORT: http.port: expected number',
  );
});

test('broken YAML, duplicate keys, tags and alias bombs are problems with a place', () => {
  expect(problemOf('name: [')).toMatch(/^(\d+ problems:\n {2}- )?shop\.yaml:1:\d+: /);
  expect(problemOf(`${SMALL}\nname: other\n`)).toContain('unique');
  expect(problemOf(SMALL.replace('name: shop-1', 'name: !!js/function "x"'))).toContain('tag');
  expect(problemOf('a: &a [*a]\nname: *a\n')).toContain('name');
  expect(problemOf(`x: &x [${'y,'.repeat(3)}]\nsource: { tables: [${'*x,'.repeat(150)}] }`)).toContain(
    'more than 100 aliases',
  );
  expect(problemOf('')).toContain('name is required');
  expect(problemOf('- a')).toContain('must hold keys and values');
});

test('table names split at the first dot outside quotes', () => {
  expect(parseTableName('a.b.c')).toEqual({ schema: 'a', table: 'b.c' });
  expect(parseTableName('"a.b"."c""d"')).toEqual({ schema: 'a.b', table: 'c"d' });
  for (const bad of ['a', '.b', 'a.', '"a.b', '']) expect(parseTableName(bad)).toBeNull();
});

test('a message never holds what stands where a value was meant', () => {
  for (const secret of ['!topsecret', '*topsecret', '|topsecret', '"a" "topsecret"', '"a" topsecret'])
    expect(problemOf(SMALL.replace('brokers', `sasl: { password: ${secret} }, brokers`))).not.toContain('topsecret');
  const glued = problemOf(SMALL.replace('brokers', 'sasl: { password:topsecret }, brokers'));
  expect(glued).toContain('3:18: "password:" needs a space after the colon');
  expect(glued).not.toContain('topsecret');
});

test('a bare variable between brackets is named as such, and so is a second document', () => {
  const bare = SMALL.replace('"${SOURCE_URL}"', () => '${SOURCE_URL}');
  expect(problemOf(bare)).toBe('shop.yaml:4:28: between { } or [ ] a value with ${VAR} stands in quotes: "${VAR}"');
  expect(problemOf(`${SMALL}---\nname: b\n`)).toContain('a second document');
});

test('what PostgreSQL and Kafka would not take is refused here', () => {
  const source = 'source: {';
  for (const [from, to, what] of [
    ['name: shop-1', 'name: 🛒', 'name: a name is'],
    ['name: new', 'name: a/b', 'targets[0].name: a name is'],
    ['127.0.0.1:9092', '127.0.0.1:70000', 'the port up to 65535'],
    ['127.0.0.1:9092', 'kafka://h:9092', 'a broker is host:port'],
    ['${SOURCE_URL}', 'postgresql://u:p%zz@h/d', 'special characters of user and password as %XX'],
    [source, `${source} tables: [],`, 'source.tables: Too small'],
    [source, `${source} tables: ["!"],`, 'a pattern is schema.table'],
    [source, `${source} publication: ${'é'.repeat(40)},`, 'up to 63 bytes'],
  ] as const)
    expect(problemOf(SMALL.replace(from, () => to))).toContain(what);
  const twice = `${SMALL}  - { name: b, postgres: { url: "postgresql://other:pw@H:5432/t" } }\n`;
  expect(problemOf(twice)).toContain('targets[1].postgres.url: the same database as target "new"');
});

test('lanes are as many as partitions, and leave nothing out', () => {
  const byKey = (more: string): string =>
    SMALL.replace('{ brokers', '{ topics: { partitions: 3 }, brokers').replace(
      'name: new',
      `name: new, ordering: key${more}`,
    );
  expect(loadConfig(byKey(''), 'shop.yaml', ENV).targets[0]).toMatchObject({ ordering: 'key', lanes: 3, instances: 1 });
  expect(loadConfig(byKey(', lanes: 5'), 'shop.yaml', ENV).targets[0]).toMatchObject({ lanes: 5 });
  expect(problemOf(byKey(', quarantine: row'))).toContain('ordering: key leaves nothing out');
  expect(problemOf(SMALL.replace('name: new', 'name: new, lanes: 2'))).toContain('only ordering: key has lanes');
});
