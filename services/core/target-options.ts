import * as z from 'zod';
import type { Option } from '#core/option-table.ts';
import { QUARANTINE_POLICIES } from '#core/quarantine.ts';

const workers = z.number().int().min(1).max(64);

/** How a sink applies, a part of option-table.ts. */
export const TARGET_OPTIONS = [
  {
    path: 'targets[].schema',
    type: z.enum(['require', 'create', 'copy']),
    default: 'copy',
    env: null,
    example: 'require',
    about:
      'Where tables come from: there already, made from the captured structure, or copied by pg_dump. With `source.debezium` only `require`, and that by default.',
  },
  {
    path: 'targets[].loadWorkers',
    type: workers,
    default: 2,
    env: null,
    example: '4',
    about: 'Sessions that write the initial load side by side.',
  },
  {
    path: 'targets[].quarantine',
    type: z.enum(QUARANTINE_POLICIES),
    default: 'stop',
    env: null,
    example: 'transaction',
    about:
      'What becomes of a change that the target refuses: the sink stops; or the whole source transaction waits as dead letters; or the row change alone does, which gives up whole transactions (docs/quarantine.md).',
  },
  {
    path: 'targets[].ordering',
    type: z.enum(['transaction', 'key']),
    default: 'transaction',
    env: null,
    example: 'key',
    about:
      '`transaction`: one sink is at work and shows whole source transactions, others stand by. `key`: lanes apply side by side, in any number of processes; the changes of a row stay in order, transactions and tables are not kept together (docs/ordering.md).',
  },
  {
    path: 'targets[].lanes',
    type: workers,
    default: null,
    derived: 'one for each partition of a table, `kafka.topics.partitions`',
    env: null,
    example: '8',
    about: 'With `ordering: key`: how many lanes share the stream, each a session of the target at a time.',
  },
  {
    path: 'targets[].instances',
    type: workers,
    default: 1,
    env: null,
    example: '2',
    about: 'With `ordering: key`: how many sink processes `restage run` starts for this target, which share its lanes.',
  },
] as const satisfies readonly Option[];
