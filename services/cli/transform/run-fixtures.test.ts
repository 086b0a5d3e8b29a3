import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { runProgram } from '../program.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'restage-fixtures-'));
afterAll(() => rmSync(folder, { recursive: true }));

const config = path.join(folder, 'restage.conf');
const fixtures = path.join(folder, 'orders.yaml');
const junit = path.join(folder, 'junit.xml');

writeFileSync(
  config,
  `
name: shop
kafka: { brokers: ["127.0.0.1:1"] }
source: { postgres: { url: "postgresql://u@127.0.0.1:1/s" } }
transform:
  outputs:
    - name: main
      rules:
        - { table: public.orders, rename: public.sales, where: "id < 100", set: [{ column: twice, type: int8, value: "id * 2" }] }
targets: [{ name: new, postgres: { url: "postgresql://u@127.0.0.1:1/t" } }]
`,
);

function fixture(name: string, id: number, expected: string): string {
  return `name: ${name}
tables: { public.orders: { columns: { id: int8 }, key: [id] } }
events: [{ table: public.orders, op: c, after: { id: ${id} } }]
${expected}
`;
}

const GOOD = fixture('an order', 4, 'expect: [{ table: public.sales, op: c, after: { id: 4, twice: 8 } }]');
const LEFT_OUT = fixture('no order', 100, 'expect: []');
const WRONG = fixture('an order twice', 5, 'expect: [{ table: public.sales, op: c, after: { id: 5, twice: 11 } }]');

async function restage(...more: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { code: 0, out: '', err: '' };
  const cli = {
    env: { RESTAGE_LOG: 'silent' },
    out: (text: string) => void (said.out += text),
    err: (text: string) => void (said.err += text),
    isTerminal: false,
    canAsk: false,
    self: [],
    signal: new AbortController().signal,
    setExitCode: (code: number) => void (said.code = code),
  };
  await runProgram(cli, '0', ['transform', 'test', '-c', config, '--fixtures', folder, ...more]);
  return said;
}

test('fixtures of a folder are run without Kafka, what differs is shown and written for CI, and --update takes what came', async () => {
  writeFileSync(fixtures, [GOOD, LEFT_OUT].join('---\n'));
  expect(await restage()).toMatchObject({
    code: 0,
    err: '',
    out: expect.stringContaining('2 fixtures, 0 not') as string,
  });

  writeFileSync(fixtures, [GOOD, WRONG].join('---\n'));
  const failed = await restage('--junit', junit);
  expect(failed.code, failed.err).toBe(1);
  expect(failed.out).toMatch(/^ok {6}an order$/m);
  expect(failed.out).toMatch(/^FAILED {2}an order twice \(.*orders\.yaml:\d+\)$/m);
  expect(failed.out).toContain('2 fixtures, 1 not as expected');
  expect(readFileSync(junit, 'utf8')).toContain('tests="2" failures="1"');

  expect(await restage('--update')).toMatchObject({ code: 0, out: expect.stringContaining('1 of 2') as string });
  expect(await restage()).toMatchObject({ code: 0 });
});

test('a fixture that says nothing, and options that do not go together, are wrong usage', async () => {
  writeFileSync(fixtures, fixture('nothing said', 1, ''));
  expect(await restage()).toMatchObject({ code: 2, err: expect.stringContaining('orders.yaml:1') as string });
  expect(await restage('--update', '--junit', junit)).toMatchObject({ code: 2 });
  expect((await restage('--fixtures', path.join(folder, 'none'))).err).toContain('cannot be read');
});
