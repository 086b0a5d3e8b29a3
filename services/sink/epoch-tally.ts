import { formatLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import { noteAge, type ServiceStatus } from '#core/status.ts';
import type { StructureChanges } from './part-reader.ts';

/** What an epoch did, over all its parts; told only once it is committed. */
export class EpochTally {
  readonly #startedAt: number;
  readonly #events = { insert: 0, update: 0, delete: 0, truncate: 0 };
  #bytes = 0;

  /** Milliseconds since 1970. */
  constructor(startedAt: number) {
    this.#startedAt = startedAt;
  }

  add(groups: readonly StructureChanges[], truncations: number, bytes: number): void {
    for (const { changes } of groups) for (const { kind } of changes) this.#events[kind] += 1;
    this.#events.truncate += truncations;
    this.#bytes += bytes;
  }

  /** `manifest` is the epoch's last, or the one it was cut at; `now` in milliseconds since 1970. */
  report(status: ServiceStatus, manifest: Manifest, through: Lsn, now: number): void {
    const { insert, update, delete: deleted, truncate } = this.#events;
    status.events.insert += insert;
    status.events.update += update;
    status.events.delete += deleted;
    status.events.truncate += truncate;
    status.state = 'streaming';
    status.detail = '';
    status.through = formatLsn(through);
    status.epoch = manifest.epoch;
    status.epochs += 1;
    status.lastEpochEvents = insert + update + deleted;
    status.lastEpochBytes = this.#bytes;
    status.lastEpochSeconds = (now - this.#startedAt) / 1000;
    noteAge(status, manifest, now);
  }
}
