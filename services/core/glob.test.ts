import { expect, test } from 'vitest';
import { matchesGlob } from '#core/glob.ts';

test('stars and question marks match, everything else is itself', () => {
  for (const [glob, text] of [
    ['*', 'public.orders'],
    ['public.*', 'public.orders'],
    ['public.ord?rs', 'public.orders'],
    ['*.*s', 'public.orders'],
    ['pub*ord*', 'public.orders'],
    ['public.orders**', 'public.orders'],
    ['public.a+(b)[c]|^$\\.{2}', 'public.a+(b)[c]|^$\\.{2}'],
    ['public.?', 'public.💶'],
    ['public.*', 'public.two\nlines'],
  ] as const)
    expect(matchesGlob(glob, text), glob).toBe(true);
  for (const [glob, text] of [
    ['public.order', 'public.orders'],
    ['public', 'public.orders'],
    ['PUBLIC.*', 'public.orders'],
    ['public.[a-z]*', 'public.orders'],
    ['publicXorders', 'public.orders'],
    ['', 'public.orders'],
    ['?', ''],
  ] as const)
    expect(matchesGlob(glob, text), glob).toBe(false);
});

test('many stars take no longer than few', () => {
  expect(matchesGlob(`${'*a'.repeat(60)}b`, 'a'.repeat(120))).toBe(false);
});
