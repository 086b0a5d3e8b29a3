import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { confirm, requireSomebody } from './ask.ts';

const signal = AbortSignal.abort();

test('nobody is asked without a terminal to read and one to answer: the message names the command and --yes', async () => {
  await expect(
    confirm('sure? ', { command: 'restage replay', dryRun: 'empty' }, { signal, canAsk: false }),
  ).rejects.toThrow(
    expect.objectContaining({
      code: 'usage',
      where: 'restage replay',
      fix: 'add --yes, or --dry-run to see what it would empty',
    }),
  );
  expect(() => requireSomebody({ command: 'restage complete', dryRun: null }, { canAsk: false })).toThrow(
    expect.objectContaining({ fix: 'add --yes' }),
  );
  expect(() => requireSomebody({ command: 'restage complete' }, { canAsk: true })).not.toThrow();
});

test('a question that is cut short is answered by no', async () => {
  expect(await confirm('sure? ', { command: 'restage replay' }, { signal, canAsk: true })).toBe(false);
});

test('one place looks whether there is a terminal to answer at', () => {
  const folder = new URL('.', import.meta.url);
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(?<!\.test)\.ts$/.test(name),
  );
  const looking = files.filter((name) => readFileSync(new URL(name, folder), 'utf8').includes('stdin.isTTY'));
  expect(looking).toEqual(['main.ts']);
});
