import { expect, test } from 'vitest';
import type { OutputConfig } from '#core/config.ts';
import { loadConfig } from '#core/config-load.ts';
import { findOutput, matchOutputs, outputRef, prefixOf } from '#core/output-ref.ts';
import { isTopicOf } from '#core/topic-names.ts';

const make = (name: string, version: number): OutputConfig => ({ name, version, rules: [] });
const OUTPUTS = [make('main', 1), make('main', 2), make('events', 3)];

test('an output is its name, one of several versions its name with the version', () => {
  expect(OUTPUTS.map((output) => outputRef(OUTPUTS, output))).toEqual(['main@1', 'main@2', 'events']);
  expect(matchOutputs(OUTPUTS, 'main').map(({ version }) => version)).toEqual([1, 2]);
  expect(findOutput(OUTPUTS, 'main')).toBeUndefined();
  expect(findOutput(OUTPUTS, 'main@2')?.version).toBe(2);
  expect(findOutput(OUTPUTS, 'events')?.version).toBe(3);
  expect(findOutput(OUTPUTS, 'events@3')?.version).toBe(3);
  expect(findOutput(OUTPUTS, 'events@1')).toBeUndefined();
  expect(findOutput(OUTPUTS, null)).toBeUndefined();
  expect(prefixOf({ name: 'shop', outputs: OUTPUTS }, 'main@2')).toBe('shop.shaped.main.v2');
  expect(prefixOf({ name: 'shop', outputs: OUTPUTS }, null)).toBe('shop');
});

test('a topic belongs to one stream of epochs', () => {
  expect(isTopicOf('shop', 'shop.public.t')).toBe(true);
  expect(isTopicOf('shop', 'shop.shaped.main.v1.public.t')).toBe(false);
  expect(isTopicOf('shop.shaped.main.v1', 'shop.shaped.main.v1.public.t')).toBe(true);
  expect(isTopicOf('shop.shaped.main.v1', 'shop.shaped.main.v10.public.t')).toBe(false);
  expect(isTopicOf('shop.shaped.main.v1', 'shop.public.t')).toBe(false);
  // A schema of the source that is named so is escaped.
  expect(isTopicOf('shop', 'shop.-73haped.t')).toBe(true);
});

const file = (outputs: string, target: string): string => `
name: shop
kafka: { brokers: ["127.0.0.1:9092"] }
source: { postgres: { url: "postgresql://h/s" } }
transform: { outputs: [${outputs}] }
targets: [{ name: new, postgres: { url: "postgresql://h/t" }${target} }]
`;

test('two versions of an output stand side by side, and a target says which it takes', () => {
  const both = '{ name: main, version: 1 }, { name: main, version: 2 }';
  expect(loadConfig(file(both, ', output: main@2'), 'f', {}).targets[0]?.output).toBe('main@2');
  expect(() => loadConfig(file(both, ', output: main'), 'f', {})).toThrow(
    'targets[0].output: say which version of "main": main@1, main@2',
  );
  expect(() => loadConfig(file(both, ''), 'f', {})).toThrow('say which of the outputs: main@1, main@2');
  expect(() => loadConfig(file('{ name: main }, { name: main, version: 1 }', ', output: main@1'), 'f', {})).toThrow(
    'a second output named "main" with version 1',
  );
  expect(loadConfig(file('{ name: main, version: 2 }', ', output: main'), 'f', {}).targets[0]?.output).toBe('main');
  expect(() => loadConfig(file('{ name: main, version: 2 }', ', output: main@1'), 'f', {})).toThrow(
    'no output is named "main@1"; did you mean "main"?',
  );
});
