import * as z from 'zod';
import type { Option } from '#core/option-table.ts';

/** What becomes of statements that alter tables in the middle of the stream. */
export const DDL_OPTIONS = [
  {
    path: 'source.onRewrite',
    type: z.enum(['stop', 'snapshot']),
    default: 'snapshot',
    env: 'RESTAGE_SOURCE_ON_REWRITE',
    example: 'stop',
    about:
      "What follows a statement that computes a table's rows anew: the table is loaded again, or the pipeline stops. See docs/ddl.md.",
  },
  {
    path: 'source.ddlTrigger',
    type: z.enum(['auto', 'off']),
    default: 'auto',
    env: 'RESTAGE_SOURCE_DDL_TRIGGER',
    example: 'off',
    about:
      '`auto`: a start of the producer makes event triggers that tell of ALTER TABLE and ALTER TYPE in the stream, where its role may. `off`: it makes none; what others made is heard. See docs/ddl.md.',
  },
] as const satisfies readonly Option[];
