import { expect, test } from 'vitest';
import { SERVICE_FLAGS, serviceCommand } from './service-flags.ts';

test("a service is started with Node's options for it, which give way to those of the command and of NODE_OPTIONS", () => {
  expect(serviceCommand(['node', '--inspect', 'main.js'], {})).toEqual([
    'node',
    ...SERVICE_FLAGS,
    '--inspect',
    'main.js',
  ]);
  expect(serviceCommand(['node', 'main.js'], { NODE_OPTIONS: '--max-semi-space-size=8' })).toEqual(['node', 'main.js']);
  expect(serviceCommand([], {})).toEqual([]);
});
