import * as z from 'zod';
import type { Option } from '#core/option-table.ts';

const text = z.string().min(1);

export const CUTOVER_OPTIONS = [
  {
    path: 'targets[].largeObjects',
    type: z.enum(['copy', 'leave']),
    default: 'copy',
    env: null,
    example: 'leave',
    about:
      'Large objects of the database, which no stream brings: a cutover copies them before its fence, and what changed since within it; or they stay behind (docs/cutover.md).',
  },
  {
    path: 'cutover.together',
    type: z.array(text).min(2),
    default: null,
    env: 'RESTAGE_CUTOVER_TOGETHER',
    example: '[billing, shipping]',
    about:
      'Targets that a cutover or rollback of one of them switches as one, in this order: one fence, one point of no return. Others are switched one after another, each by its own command (docs/cutover.md).',
  },
  {
    path: 'cutover.hook.command',
    type: z.array(text).min(1),
    default: null,
    env: 'RESTAGE_CUTOVER_HOOK_COMMAND',
    example: '["./flip.sh"]',
    about:
      'A program that `restage cutover` and `rollback` start to hold, resume and flip writers; it gets a JSON message on standard input and in RESTAGE_HOOK, and must end with 0. See docs/cutover.md.',
  },
  {
    path: 'cutover.hook.url',
    type: z.string().regex(/^https?:\/\/\S+$/, 'write it as http://host/path'),
    default: null,
    env: 'RESTAGE_CUTOVER_HOOK_URL',
    example: '"https://deploy.example/hooks/db"',
    about: 'Gets the same message as a POST, and must answer with 2xx.',
  },
  {
    path: 'cutover.hook.file',
    type: text,
    default: null,
    env: 'RESTAGE_CUTOVER_HOOK_FILE',
    example: '/run/app/database.json',
    about: 'A file that is replaced by the same message.',
  },
  {
    path: 'cutover.hook.timeoutMs',
    type: z.number().int().min(100).max(600_000),
    default: 5_000,
    env: 'RESTAGE_CUTOVER_HOOK_TIMEOUT_MS',
    example: '5000',
    about: 'A hook that takes longer has failed. Milliseconds.',
  },
] as const satisfies readonly Option[];
