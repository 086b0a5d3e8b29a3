import { placeKey } from '#core/record-counts.ts';
import type { Place } from './offsets.ts';

/** What it does with a transaction of its writer. */
export interface AheadTools {
  readonly add: (places: readonly Place[]) => Promise<void>;
  /** Ends the transaction, which has no records. */
  readonly end: (places: ReadonlySet<string>) => Promise<void>;
}

/** For the last transaction's markers to be written: asked for at once, the coordinator would say that it is not ready. */
const REST_MS = 4;
/** Transactions that do not follow each other so soon are not begun ahead, and one that was is ended. */
const FOLLOW_MS = 250;
/** Each gets a marker, written to or not. */
const MOST_PLACES = 64;
const NONE: ReadonlySet<string> = new Set();

/**
 * Begins a transaction before there is something to write, with the partitions of those before it: while transactions follow each other,
 * whoever writes has one request less to wait for. A transaction without records holds no reader back (Kafka: KIP-98, last stable
 * offset), and one that nobody came for is ended, long before its timeout. For one writer, whose transactions it is told of in turn.
 */
export class PartitionsAhead {
  readonly #tools: AheadTools;
  /** Of the last transaction, while another that comes would follow it. */
  #last: ReadonlyMap<string, Place> = new Map();
  #begun: Promise<ReadonlySet<string>> = Promise.resolve(NONE);
  #beginning: NodeJS.Timeout | null = null;
  #ending: NodeJS.Timeout | null = null;

  constructor(tools: AheadTools) {
    this.#tools = tools;
  }

  /** By placeKey, what the transaction has that its writer is about to use; empty where none is open. Rejects as what was done ahead did. */
  take(): Promise<ReadonlySet<string>> {
    this.#stopTimers();
    const begun = this.#begun;
    this.#begun = Promise.resolve(NONE);
    return begun;
  }

  /** A transaction that wrote to these was committed. */
  committed(written: readonly Place[]): void {
    this.#stopTimers();
    const now = new Map(written.map((place) => [placeKey(place), place]));
    const again = [...now].filter(([key]) => this.#last.has(key)).map(([, place]) => place);
    this.#last = now;
    if (again.length > 0 && again.length <= MOST_PLACES)
      this.#beginning = setTimeout(() => {
        this.#beginning = null;
        this.#begin(again);
      }, REST_MS);
    this.#ending = setTimeout(() => {
      this.#last = new Map();
      this.#end();
    }, FOLLOW_MS).unref();
  }

  /** Ends what is open; resolves in any case. */
  async close(): Promise<void> {
    this.#stopTimers();
    this.#end();
    await this.#begun.catch(() => undefined);
  }

  #begin(places: readonly Place[]): void {
    this.#become(this.#tools.add(places).then(() => new Set(places.map(placeKey))));
  }

  #end(): void {
    this.#become(
      this.#begun.then(async (open) => {
        if (open.size > 0) await this.#tools.end(open);
        return NONE;
      }),
    );
  }

  #become(begun: Promise<ReadonlySet<string>>): void {
    // Told to whoever writes next.
    begun.catch(() => undefined);
    this.#begun = begun;
  }

  #stopTimers(): void {
    if (this.#beginning !== null) clearTimeout(this.#beginning);
    if (this.#ending !== null) clearTimeout(this.#ending);
    this.#beginning = null;
    this.#ending = null;
  }
}
