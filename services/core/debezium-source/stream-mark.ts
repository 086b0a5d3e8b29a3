import { RestageError } from '#core/errors.ts';
import { formatPlace } from './bad-record.ts';
import type { EventPlace, SourceEvent } from './event.ts';

/** How far one topic's stream was applied; goes with its offset into the target. */
export interface MarkState {
  readonly place: EventPlace | null;
  /** Of the events at that place: rows of one COPY share it. */
  readonly keys: readonly string[];
  /** The newest commit. Microseconds since 1970. */
  readonly micros: bigint;
}

export const NO_MARK: MarkState = { place: null, keys: [], micros: 0n };

/**
 * Tells what Debezium sends again after a restart, where it says nothing of transactions. Order is (last commit before the
 * transaction, LSN): the LSN alone is not monotone, not even for one key, since a row may be written by a transaction that waits for
 * the one which deletes its predecessor.
 */
export class StreamMark {
  #place: EventPlace | null = null;
  #keys = new Set<string>();
  #micros = 0n;

  constructor(state: MarkState) {
    this.restore(state);
  }

  get state(): MarkState {
    return { place: this.#place, keys: [...this.#keys], micros: this.#micros };
  }

  /** As if what came after had not been noted. */
  restore({ place, keys, micros }: MarkState): void {
    this.#place = place;
    this.#keys = new Set(keys);
    this.#micros = micros;
  }

  /** A snapshot begins a new life: the stream after it may start anywhere before it. */
  forget(): void {
    this.#place = null;
    this.#keys = new Set();
  }

  /**
   * Notes the event, and says whether it is one that was applied. `key`: what tells events at one place apart.
   * @throws RestageError source_replaced where it is new by its time and old by its place.
   */
  isRepeat(event: SourceEvent, place: EventPlace, key: string): boolean {
    const order = this.#place === null ? 1 : compare(place, this.#place);
    if (order === 0 && this.#keys.has(key)) return true;
    if (order < 0) {
      if (event.micros > this.#micros) throw wentBack(event);
      return true;
    }
    if (order > 0) {
      this.#place = place;
      this.#keys = new Set();
    }
    this.#keys.add(key);
    if (event.micros > this.#micros) this.#micros = event.micros;
    return false;
  }
}

/**
 * The first transaction of a connector's life knows no commit before it: it counts as new, and what follows it with it. Rows become
 * what they are again in the end.
 */
function compare(one: EventPlace, other: EventPlace): number {
  if (one.lastCommit === null && other.lastCommit !== null) return 1;
  if (one.lastCommit !== null && other.lastCommit === null) return 1;
  if (one.lastCommit !== other.lastCommit) return (one.lastCommit ?? 0n) < (other.lastCommit ?? 0n) ? -1 : 1;
  return one.lsn === other.lsn ? 0 : one.lsn < other.lsn ? -1 : 1;
}

/** The source's WAL is younger than what was applied from it. */
export function wentBack(event: Pick<SourceEvent, 'topic' | 'partition' | 'offset'>): RestageError {
  return new RestageError('source_replaced', 'events of a later time lie before what is applied of the WAL', {
    where: formatPlace(event),
    fix: 'the source was replaced by one with another WAL (restored, or a stand-by that lost something): begin a pipeline under another name, with an empty target',
  });
}
