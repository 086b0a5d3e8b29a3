import { Condition } from '#core/condition.ts';
import type { TableStructure } from '#core/structure.ts';

export interface TableTopicsOptions {
  /** Makes topics, in this order; all are asked for before it hands over the first that can be written to. */
  readonly make: (topics: readonly string[]) => AsyncIterable<readonly string[]>;
  /** Writes down that these are the pipeline's, before anything is written to them. */
  readonly remember: (topics: readonly string[]) => Promise<void>;
  /** Aborted: nobody waits any longer, and no further topic is remembered; making them may go on for a while. */
  readonly signal: AbortSignal;
}

/** But for the first: each time all that are remembered so far are written once more. */
const REMEMBERED_AT_ONCE = 2_000;

/**
 * The topics of a pipeline's first tables, made while its first load goes on: a broker makes one after the other, and of thousands a minute
 * long. Meanwhile targets make their tables, and those tables are read whose topics are there. Topics are remembered from the first plan on, whose
 * transaction is then over (`TopicGround.remember`), and none is written to before.
 */
export class TableTopics {
  readonly #options: TableTopicsOptions;
  readonly #named = new Set<string>();
  readonly #made = new Set<string>();
  readonly #state = new Condition();
  #isPlanned = false;
  #remembering: Promise<void> = Promise.resolve();

  constructor(options: TableTopicsOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => this.#state.changed(), { once: true });
  }

  /** Those that were not named before. Resolves when all are asked for: what a broker refuses is known before anything else is made. */
  async begin(tables: readonly Pick<TableStructure, 'topic'>[]): Promise<void> {
    const fresh = tables.map(({ topic }) => topic).filter((topic) => !this.#named.has(topic));
    for (const topic of fresh) this.#named.add(topic);
    if (fresh.length === 0) return;
    let areAsked = false;
    const noteAsked = (): void => {
      areAsked = true;
      this.#state.changed();
    };
    void this.#make(fresh, noteAsked).catch((error: unknown) => this.#state.fail(error));
    await this.#until(() => areAsked);
  }

  /** Kafka has the first plan. */
  notePlan(): void {
    this.#isPlanned = true;
    this.#state.changed();
  }

  /** Once aborted: resolves when nothing is being written down any more. */
  async close(): Promise<void> {
    await this.#remembering.catch(() => undefined);
  }

  has(topic: string): boolean {
    return this.#named.has(topic);
  }

  /** Until a table's topic may be written to, or for nothing once aborted. At once where it was never named here. Rejects where topics cannot be made. */
  async whenMade(topic: string): Promise<void> {
    await this.#until(() => this.#made.has(topic) || !this.#named.has(topic));
  }

  /** The same for all that were named. */
  async whenAllMade(): Promise<void> {
    await this.#until(() => this.#made.size === this.#named.size);
  }

  async #make(topics: readonly string[], noteAsked: () => void): Promise<void> {
    let waiting: string[] = [];
    for await (const made of this.#options.make(topics)) {
      if (this.#options.signal.aborted) return;
      noteAsked();
      waiting.push(...made);
      if (this.#made.size > 0 && waiting.length < REMEMBERED_AT_ONCE) continue;
      await this.#remember(waiting);
      waiting = [];
    }
    if (waiting.length > 0) await this.#remember(waiting);
  }

  async #remember(topics: readonly string[]): Promise<void> {
    await this.#until(() => this.#isPlanned);
    if (this.#options.signal.aborted) return;
    this.#remembering = this.#remembering.then(() => this.#options.remember(topics));
    await this.#remembering;
    for (const topic of topics) this.#made.add(topic);
    this.#state.changed();
  }

  #until(isReached: () => boolean): Promise<void> {
    return this.#state.until(() => isReached() || this.#options.signal.aborted);
  }
}
