import type { StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { RelayedLetters } from './target.ts';

/** Acknowledged by all replicas when it resolves. */
export type SendDeadLetters = (letters: readonly StoredDeadLetter[]) => Promise<void>;

const BATCH_BYTES = 1_000_000;
const BATCH_COUNT = 500;

/**
 * Sends what is in the target and not yet on the topic, oldest first. At least once: one is marked only after its acknowledgement, and a
 * repeat has the same id, by which readers drop it. It may be called as often as one likes.
 */
export async function relayDeadLetters(
  store: RelayedLetters,
  send: SendDeadLetters,
  failpoints: Failpoints,
): Promise<void> {
  let ids: string[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    if (ids.length === 0) return;
    await send(await store.read(ids));
    failpoints.hit('sink.relay.before');
    await store.markRelayed(ids);
    failpoints.hit('sink.relay.after');
    [ids, bytes] = [[], 0];
  };
  for (const place of await store.unrelayed()) {
    ids.push(place.id);
    bytes += place.bytes;
    if (bytes >= BATCH_BYTES || ids.length >= BATCH_COUNT) await flush();
  }
  await flush();
}
