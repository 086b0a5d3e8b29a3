import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import type { Side } from '#core/migration/journal.ts';

const messageSchema = z.object({ live: z.enum(['source', 'target']).nullable() });

/** What the cutover's hook says in its file: which side takes writes; null: wait. Before the first switch there is no file. */
export async function readLiveSide(file: string): Promise<Side | null> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 'source';
    throw error;
  }
  return messageSchema.parse(JSON.parse(text)).live;
}
