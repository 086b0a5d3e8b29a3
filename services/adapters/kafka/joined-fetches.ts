import { placeKey } from '#core/record-counts.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { fetchPartitions, type Fetched, type FetchQuery } from './fetch.ts';

interface Asked {
  readonly query: FetchQuery;
  readonly resolve: (fetched: Fetched) => void;
  readonly reject: (error: unknown) => void;
}

/** Of one answer. A range that does not fit is asked for again. */
const MOST_BYTES = 8 * 1024 * 1024;
const MOST_PARTITIONS = 256;

/**
 * Fetches of different partitions that are asked for at once go to their broker in one request: an epoch has a range in each table's topic,
 * and a request takes a tenth of a millisecond of both sides however little comes. For queries of one isolation and wait.
 */
export class JoinedFetches {
  readonly #pool: ConnectionPool;
  readonly #asked = new Map<number, Asked[]>();

  constructor(pool: ConnectionPool) {
    this.#pool = pool;
  }

  fetch(leader: number, query: FetchQuery): Promise<Fetched> {
    return new Promise((resolve, reject) => {
      const waiting = this.#asked.get(leader);
      if (waiting !== undefined) {
        waiting.push({ query, resolve, reject });
        return;
      }
      this.#asked.set(leader, [{ query, resolve, reject }]);
      setImmediate(() => {
        const all = this.#asked.get(leader) ?? [];
        this.#asked.delete(leader);
        for (const some of apart(all)) void this.#send(leader, some);
      });
    });
  }

  async #send(leader: number, asked: readonly Asked[]): Promise<void> {
    const queries = asked.map(({ query }) => query);
    // A batch that is larger than what was fetched before is asked for by itself, and more at a time.
    const maxBytes = Math.max(MOST_BYTES, ...queries.map((query) => query.maxBytes));
    try {
      const fetched = await this.#pool.request(leader, 'read', (connection) =>
        fetchPartitions(connection, queries, maxBytes),
      );
      for (const [index, one] of asked.entries()) {
        const answer = fetched[index];
        if (answer !== undefined) one.resolve(answer);
      }
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
  }
}

/** A request names a partition once. */
function apart(asked: readonly Asked[]): Asked[][] {
  const requests: { places: Set<string>; asked: Asked[] }[] = [];
  for (const one of asked) {
    const place = placeKey(one.query);
    const room = requests.find(({ places }) => places.size < MOST_PARTITIONS && !places.has(place));
    if (room === undefined) requests.push({ places: new Set([place]), asked: [one] });
    else {
      room.places.add(place);
      room.asked.push(one);
    }
  }
  return requests.map((request) => request.asked);
}
