import { expect, test } from 'vitest';
import { loadConfig } from '#core/config-load.ts';
import { RestageError } from '#core/errors.ts';

const HEAD = `
name: shop
kafka: { brokers: ["127.0.0.1:9092"] }
source: { postgres: { url: "postgresql://s@h/s" }`;
const TARGET = `targets: [{ name: new, postgres: { url: "postgresql://t@h/t" } }]`;
const OUTPUTS = `transform: { outputs: [{ name: plain }, { name: dbz, profile: debezium }] }`;

test("Debezium's options stand under debezium by their own names, dots and all", () => {
  const { source, targets } = loadConfig(
    `${HEAD}, profile: debezium }
debezium:
  decimal.handling.mode: string
  tombstones.on.delete: false
`,
    'shop.yaml',
    {},
  );
  expect(source.profile).toMatchObject({
    format: 'json',
    decimalHandlingMode: 'string',
    tombstonesOnDelete: false,
    timePrecisionMode: 'adaptive',
  });
  expect(targets).toEqual([]);
});

test('a misspelt one is refused with the nearest known one', () => {
  expect(problemOf(`${HEAD} }\n${TARGET}\ndebezium: { decimal.handling.mod: string }\n`)).toContain(
    'unknown key "decimal.handling.mod" in debezium; did you mean "decimal.handling.mode"?',
  );
});

test('a target takes an output of profile lossless, or the raw topics', () => {
  const both = loadConfig(`${HEAD} }\n${OUTPUTS}\n${TARGET}\n`, 'shop.yaml', {});
  expect(both.targets[0]?.output).toBe('plain');
  expect(both.outputs.map(({ profile }) => profile?.format ?? null)).toEqual([null, 'json']);
  const raw = loadConfig(`${HEAD} }\n${OUTPUTS.replace('{ name: plain }, ', '')}\n${TARGET}\n`, 'shop.yaml', {});
  expect(raw.targets[0]?.output).toBeNull();
});

test.each([
  [
    'targets of raw topics',
    `${HEAD}, profile: debezium }\n${TARGET}`,
    'source.profile: outputs and targets read raw topics',
  ],
  [
    'a target of such an output',
    `${HEAD} }\n${OUTPUTS}\n${TARGET.replace('} }]', '}, output: dbz }]')}`,
    'a target reads profile lossless, and output "dbz"',
  ],
  [
    'avro without a registry',
    `${HEAD}, profile: debezium }\ndebezium: { format: avro }`,
    'avro needs a schema registry',
  ],
  [
    'transaction metadata of shaped topics',
    `${HEAD} }\n${OUTPUTS}\n${TARGET}\ndebezium: { provide.transaction.metadata: true }`,
    'only raw topics have it',
  ],
  ['no target and nobody else who reads', `${HEAD} }`, 'targets is required'],
])('%s are refused', (_what, text, problem) => {
  expect(problemOf(`${text}\n`)).toContain(problem);
});

function problemOf(text: string): string {
  try {
    loadConfig(text, 'shop.yaml', {});
  } catch (error) {
    if (error instanceof RestageError) return error.message;
    throw error;
  }
  return 'no problem';
}
