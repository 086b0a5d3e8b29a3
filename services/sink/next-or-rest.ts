import { pause } from '#core/backoff.ts';

/** What comes next, or `rest` where nothing came for so many milliseconds; `restMs` null: however long it takes. */
export async function nextOrRest<T>(
  coming: Promise<T>,
  restMs: number | null,
  signal: AbortSignal,
): Promise<T | 'rest'> {
  if (restMs === null) return coming;
  const over = new AbortController();
  try {
    const rested = pause(restMs, AbortSignal.any([signal, over.signal])).then(() => 'rest' as const);
    return await Promise.race([coming, rested]);
  } finally {
    over.abort();
  }
}
