import * as z from 'zod';
import { isPostgresUrl } from '#core/address.ts';
import type { Option } from '#core/option-table.ts';
import { DRIVERS } from '#core/rehearsal/rehearsal-config.ts';

const text = z.string().min(1);
const seconds = z.number().min(0.001).max(31_536_000);

/** `rehearsal`, a part of option-table.ts. */
export const REHEARSAL_OPTIONS = [
  {
    path: 'rehearsal.postgres.url',
    type: z.string().refine(isPostgresUrl, 'write it as postgresql://host:5432/database'),
    default: null,
    env: 'RESTAGE_REHEARSAL_URL',
    example: '"${REHEARSAL_URL}"',
    about:
      'Any database of the server that clones are made on, as a role that may make databases (CREATEDB). Best a server of its own. See docs/rehearse.md.',
  },
  {
    path: 'rehearsal.baseline',
    type: z.string().min(1).max(63),
    default: null,
    derived: 'an empty database',
    env: 'RESTAGE_REHEARSAL_BASELINE',
    example: 'shop_baseline',
    about: 'The database on that server that a clone begins as. Never a live target: a template may have no sessions.',
  },
  {
    path: 'rehearsal.driver',
    type: z.enum(['auto', ...DRIVERS]),
    default: 'auto',
    env: 'RESTAGE_REHEARSAL_DRIVER',
    example: 'dump',
    about:
      'How clones are made: `template` (CREATE DATABASE … TEMPLATE), `dump` (pg_dump into a new database), `command`; `auto` takes the first that can.',
  },
  {
    path: 'rehearsal.command.create',
    type: text,
    default: null,
    env: 'RESTAGE_REHEARSAL_COMMAND_CREATE',
    example: './clone create',
    about: 'A shell command that makes a clone and prints its URL as its last line. RESTAGE_CLONE is its name.',
  },
  {
    path: 'rehearsal.command.drop',
    type: text,
    default: null,
    env: 'RESTAGE_REHEARSAL_COMMAND_DROP',
    example: './clone drop',
    about: 'A shell command that removes the clone RESTAGE_CLONE, and does nothing where there is none.',
  },
  {
    path: 'rehearsal.smoke',
    type: text,
    default: null,
    env: 'RESTAGE_REHEARSAL_SMOKE',
    example: 'npm run smoke',
    about: 'A shell command that tries the application on the clone, whose URL is in RESTAGE_CLONE_URL. 0 passes.',
  },
  {
    path: 'rehearsal.smokeSeconds',
    type: seconds,
    default: 300,
    env: 'RESTAGE_REHEARSAL_SMOKE_SECONDS',
    example: '60',
    about: 'How long that may take. Seconds.',
  },
  {
    path: 'rehearsal.rollback',
    type: z.boolean(),
    default: true,
    env: 'RESTAGE_REHEARSAL_ROLLBACK',
    example: 'false',
    about:
      "Whether the switch is rehearsed there and back: a copy of the clone takes the source's place for it. Takes the clone's room a second time.",
  },
  {
    path: 'rehearsal.budget.switchSeconds',
    type: seconds,
    default: null,
    env: 'RESTAGE_REHEARSAL_SWITCH_SECONDS',
    example: '3',
    about:
      'Most seconds from the last write at the source to a clone that has it and can go on by itself. Above it the rehearsal fails.',
  },
  {
    path: 'rehearsal.budget.replaySeconds',
    type: seconds,
    default: null,
    env: 'RESTAGE_REHEARSAL_REPLAY_SECONDS',
    example: '3600',
    about: 'Most seconds that the replay of the history into the clone may take. Above it the rehearsal fails.',
  },
  {
    path: 'rehearsal.budget.downtimeSeconds',
    type: seconds,
    default: null,
    env: 'RESTAGE_REHEARSAL_DOWNTIME_SECONDS',
    example: '3',
    about:
      'Most seconds for which the rehearsed cutover, or its rollback, may refuse writes. Above it, or where they cannot be rehearsed, the rehearsal fails.',
  },
] as const satisfies readonly Option[];
