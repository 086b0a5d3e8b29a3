import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '#core/config-load.ts';
import { makeConfigReference } from '#core/option-reference.ts';
import { makeConfigSchema } from '#core/option-schema.ts';
import { OPTIONS } from '#core/option-table.ts';

function committed(name: string): string {
  return readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
}

function examplePage(): string {
  return /```yaml\n(.*?)```/s.exec(makeConfigReference())?.[1] ?? '';
}

test('the committed schema and reference page are current', () => {
  expect(committed('schemas/config.schema.json')).toBe(`${JSON.stringify(makeConfigSchema(), null, 2)}\n`);
  expect(committed('docs/configuration.md')).toBe(makeConfigReference());
});

test("the schema takes the page's example and refuses an unknown key", () => {
  const validate = new Ajv2020({ allErrors: true }).compile(makeConfigSchema());
  const example: unknown = parse(examplePage());
  expect(validate(example), JSON.stringify(validate.errors)).toBe(true);
  expect(validate({ ...(example as object), nmae: 'x' })).toBe(false);
  expect(validate({ ...(example as object), http: { port: 'x' } })).toBe(false);
});

test("the loader takes the page's example", () => {
  const config = loadConfig(examplePage(), 'page', {
    SOURCE_URL: 'postgresql://s@h/s',
    TARGET_URL: 'postgresql://t@h/t',
  });
  expect(config.targets).toMatchObject([{ name: 'new', output: 'main', schema: 'require' }]);
});

test('environment names are one each, none inside lists', () => {
  const names = OPTIONS.map((option) => option.env).filter((name) => name !== null);
  expect(new Set(names).size).toBe(names.length);
  for (const option of OPTIONS) expect(option.env === null, option.path).toBe(/\[\]|\*/.test(option.path));
});
