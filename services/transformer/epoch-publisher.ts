import type { PartitionRecords } from '#core/epoch-writer.ts';
import type { StoredManifest } from '#core/manifest.ts';
import { countedOps, noteEvents, noteWritten, rowsOf } from './epoch-figures.ts';
import type { EventShaper } from './event-shaper.ts';
import type { OutputQuarantine } from './output-quarantine.ts';
import { stamped } from './same-rules.ts';
import type { ShapedEntry, ShapedEpoch, TransformerParts } from './transformer-parts.ts';

export interface PublisherOptions extends Pick<
  TransformerParts,
  'writer' | 'status' | 'clock' | 'ensureTopics' | 'ensureSideTopics' | 'logger' | 'rules'
> {
  readonly shaper: EventShaper;
  readonly quarantine: OutputQuarantine;
  /** The output's last manifest. */
  readonly last: StoredManifest | null;
}

type ShapedRecords = Pick<ShapedEpoch, 'data' | 'side'>;

/** Larger ones are waited for: what is shaped beside them may be as large (invariant 6). */
const MOST_BESIDE_BYTES = 16 * 1024 * 1024;

/**
 * Writes what one run shapes, one Kafka transaction after another. One may go on while what follows is shaped, never two. After an error it
 * is of no use any more, as its writer is.
 */
export class EpochPublisher {
  readonly #options: PublisherOptions;
  /** Topics that are there. */
  readonly #topics = new Set<string>();
  #last: StoredManifest | null;
  /** When the write before ended, on the clock. */
  #endedAt = 0;
  #begun: Promise<void> = Promise.resolve();
  #begunBytes = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#last = options.last;
  }

  /** The output's last manifest that is committed. */
  get last(): StoredManifest | null {
    return this.#last;
  }

  /** What was begun leaves room in memory for something to be shaped beside it. */
  get hasRoom(): boolean {
    return this.#begunBytes < MOST_BESIDE_BYTES;
  }

  /** Once what was begun before is settled. `startedAt`: since when it was shaped. */
  begin(entries: readonly ShapedEntry[], epoch: ShapedRecords, startedAt: number, onWritten: () => void): void {
    this.#begun = this.publish(entries, epoch, startedAt).then(onWritten);
    this.#begunBytes = epoch.data.bytes;
    // Its error is thrown by whoever waits for it, as everybody does who goes on.
    this.#begun.catch(() => undefined);
  }

  /** Rejects as what was begun did, each time. */
  async settled(): Promise<void> {
    await this.#begun;
    this.#begunBytes = 0;
  }

  async publish(
    entries: readonly ShapedEntry[],
    { data: out, side }: ShapedRecords,
    startedAt = this.#options.clock(),
  ): Promise<void> {
    const { writer, status, clock, ensureTopics, ensureSideTopics, logger, rules, quarantine, shaper } = this.#options;
    quarantine.append(side);
    // From here on it is written, or this run is over; what is shaped meanwhile is of a later epoch.
    shaper.keepIntroduced();
    const [data, beside] = [out.finish(), side.finish()];
    await this.#ensure(data, ensureTopics);
    await this.#ensure(beside, ensureSideTopics);
    const drafts = entries.map(({ draft, counts }) => ({ draft: stamped(draft, rules.print), counts }));
    const written = await writer.writeAll(drafts, data, beside);
    await shaper.state?.committed();
    const endedAt = clock();
    const bytes = out.bytes / entries.length;
    const seconds = (endedAt - Math.max(startedAt, this.#endedAt)) / 1000 / entries.length;
    this.#endedAt = endedAt;
    for (const [index, stored] of written.entries()) {
      this.#last = stored;
      const { manifest } = stored;
      const { ops = countedOps('') } = entries[index] ?? {};
      const letters = quarantine.written(manifest);
      if (letters > 0) logger.warn({ letters }, `${letters} events became dead letters: restage dlq list says why`);
      noteWritten(status, manifest, rowsOf(ops), bytes, seconds, endedAt);
      noteEvents(status.events, ops, manifest);
    }
  }

  async #ensure(records: readonly PartitionRecords[], make: TransformerParts['ensureTopics']): Promise<void> {
    const unseen = [...new Set(records.map(({ topic }) => topic))].filter((topic) => !this.#topics.has(topic));
    if (unseen.length > 0) await make(unseen);
    for (const topic of unseen) this.#topics.add(topic);
  }
}
