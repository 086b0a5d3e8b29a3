import * as z from 'zod';
import type { Option } from '#core/option-table.ts';

/** What an output says of its module. */
export const MODULE_OPTIONS = [
  {
    path: 'transform.outputs[].module',
    type: z.string().min(1),
    default: null,
    env: null,
    example: './transform.ts',
    about:
      "TypeScript for what rules cannot say: a path from the configuration's directory. Trusted code, run apart from the service. See docs/modules.md.",
  },
  {
    path: 'transform.outputs[].moduleLimits.memoryMb',
    type: z.number().int().min(16).max(65_536),
    default: 256,
    env: null,
    example: '512',
    about: "Heap that the module's functions may take. MiB.",
  },
  {
    path: 'transform.outputs[].moduleLimits.batchMs',
    type: z.number().int().min(100).max(600_000),
    default: 10_000,
    env: null,
    example: '2000',
    about: 'How long they may take for one batch of changes. Milliseconds.',
  },
] as const satisfies readonly Option[];
