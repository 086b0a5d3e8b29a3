import { pause } from '#core/backoff.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn } from '#core/lsn.ts';
import { totalBefore, totalOf, type Manifest, type ManifestTotal } from '#core/manifest.ts';
import type { ServiceStatus } from '#core/status.ts';

const INTERVAL_MS = 2_000;

/**
 * How far a reader of epochs is behind, from the running totals that manifests carry: what the newest one names, less what was
 * consumed. Nothing is scanned, however long the history. The figures are defined at ServiceStatus.
 */
export class LagMeter {
  readonly #schemasTopic: string;
  #isLoading = false;
  #consumed: ManifestTotal | null = null;
  #oldestWaiting: string | null = null;

  constructor(schemasTopic: string) {
    this.#schemasTopic = schemasTopic;
  }

  /** A pass begins: the load's steps over the stream, which waits meanwhile as the chunks do. */
  begin(pass: 'load' | 'stream'): void {
    this.#isLoading = pass === 'load';
    this.#consumed = null;
    this.#oldestWaiting = null;
  }

  /** A manifest has been read. The first one tells what was consumed before this pass. */
  see(manifest: Manifest): void {
    this.#consumed ??= totalBefore(manifest, this.#schemasTopic);
    if (manifest.kind === 'stream') this.#oldestWaiting ??= manifest.commitTime;
  }

  /** The rows of this manifest are consumed; of the load's pass, in any order. */
  loaded(manifest: Manifest): void {
    if (this.#consumed === null) return;
    const own = totalOf(manifest).rows - totalBefore(manifest, this.#schemasTopic).rows;
    this.#consumed = { ...this.#consumed, rows: this.#consumed.rows + own };
  }

  /** The stream is consumed up to and with this manifest. */
  reached(manifest: Manifest): void {
    this.#consumed = totalOf(manifest);
    this.#oldestWaiting = null;
  }

  /** `newest`: on the topic that is read; `raw`: how much of the source is in Kafka; `now`: milliseconds since 1970. */
  update(status: ServiceStatus, newest: Manifest, raw: Manifest, now: number): void {
    const total = totalOf(newest);
    const consumed = this.#consumed ?? total;
    const rows = this.#isLoading ? total.rows - consumed.rows : 0;
    status.lagEvents = Math.max(0, total.events - consumed.events + rows);
    if (status.through !== '') status.lagBytes = Math.max(0, Number(parseLsn(raw.through) - parseLsn(status.through)));
    if (this.#oldestWaiting !== null) status.lagSeconds = Math.max(0, now / 1000 - Number(this.#oldestWaiting) / 1e6);
  }
}

export interface LagWatch {
  readonly meter: LagMeter;
  readonly reader: Pick<EpochReader, 'last'>;
  /** Of the raw topics: the reader itself where it reads those. */
  readonly raw: Pick<EpochReader, 'last'>;
  readonly status: ServiceStatus;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** Keeps the figures while the reader's own loop may be held or busy, until aborted. Never fails: Kafka's absence is that loop's to report. */
export async function watchLag(watch: LagWatch, signal: AbortSignal): Promise<void> {
  const { meter, reader, raw, status, logger, clock } = watch;
  while (!signal.aborted) {
    try {
      const newest = await reader.last();
      const source = raw === reader ? newest : await raw.last();
      if (newest !== null) meter.update(status, newest.manifest, (source ?? newest).manifest, clock());
    } catch (error) {
      logger.debug({ err: error }, 'the newest manifest could not be read');
    }
    await pause(INTERVAL_MS, signal);
  }
}
