import type pg from 'pg';
import type { TableLoad, TargetState } from '#adapters/postgres/target/target-state.ts';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { ErrorCode } from '#core/errors.ts';
import { parseLsn, LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { Manifest, ManifestRange, StoredManifest } from '#core/manifest.ts';
import { readStreamHeaders } from '#core/record.ts';
import type { ServiceStatus } from '#core/status.ts';
import { structureVersion } from '#core/structure.ts';
import { applyPart, truncationPosition, type TableChanges, type Truncation } from './epoch-apply.ts';
import { parseChange } from './event-parser.ts';
import type { StructureBook } from './structure-book.ts';

export interface StreamPassOptions {
  readonly reader: EpochReader;
  readonly structures: StructureBook;
  readonly state: TargetState;
  readonly client: pg.Client;
  readonly loads: ReadonlyMap<string, TableLoad>;
  readonly status: ServiceStatus;
  readonly whenRunning: () => Promise<void>;
  readonly clock: () => number;
  /** Called once the applied position has passed the newest snapshot. */
  readonly onCaughtUp: () => Promise<void>;
  readonly isLoadDone: boolean;
}

const EMPTY_INTERVAL_MS = 10_000;

/** The second pass: stream epochs in order, each in one target transaction with the position (invariants 2 and 4), until aborted. */
export class StreamPass {
  readonly #options: StreamPassOptions;
  readonly #newestSnapshot: Lsn;
  #isLoadDone: boolean;
  #isOpen = false;
  #storedAt = 0;

  constructor(options: StreamPassOptions) {
    this.#options = options;
    this.#isLoadDone = options.isLoadDone;
    this.#newestSnapshot = [...options.loads.values()].reduce((newest, { snapshot }) => (snapshot !== null && snapshot > newest ? snapshot : newest), LSN_ZERO);
  }

  async run(from: bigint, through: Lsn, signal: AbortSignal): Promise<void> {
    const { reader, client, whenRunning } = this.#options;
    await this.#noteThrough(through);
    try {
      for await (const manifests of reader.manifests(from, signal)) {
        for (const stored of manifests) {
          if (signal.aborted && !this.#isOpen) return;
          if (!this.#isOpen) await whenRunning();
          await this.#take(stored, signal);
        }
      }
    } finally {
      if (this.#isOpen) await client.query('ROLLBACK').catch(() => undefined);
    }
  }

  async #take(stored: StoredManifest, signal: AbortSignal): Promise<void> {
    switch (stored.manifest.kind) {
      case 'stream':
        return this.#apply(stored, signal);
      case 'empty':
        return this.#storeEmpty(stored);
      case 'plan':
        await this.#options.structures.learn(stored.manifest, signal);
        return;
      case 'intent':
      case 'origin':
      case 'chunk':
      case 'tableEnd':
      case 'end':
    }
  }

  async #apply({ offset, manifest }: StoredManifest, signal: AbortSignal): Promise<void> {
    const { client, state, structures, status, clock } = this.#options;
    const startedAt = clock();
    await structures.learn(manifest, signal);
    const part = await this.#readPart(manifest, signal);
    if (signal.aborted) return;
    if (!this.#isOpen) {
      await client.query('BEGIN');
      this.#isOpen = true;
      await state.guard(client, 'UPDATE');
      await client.query('SET CONSTRAINTS ALL DEFERRED');
    }
    const mismatch: ErrorCode = this.#isLoadDone ? 'target_drift' : 'load_overlap';
    await applyPart(client, part.tables, await this.#truncations(manifest), mismatch);
    if (!manifest.last) return;
    const through = parseLsn(manifest.through);
    const commit = manifest.lastCommit === null ? null : parseLsn(manifest.lastCommit);
    await state.moveTo(client, { epoch: manifest.epoch, commit, through, nextOffset: offset + 1n });
    await client.query('COMMIT');
    this.#isOpen = false;
    this.#storedAt = clock();
    noteEpoch(status, manifest, part, (this.#storedAt - startedAt) / 1000, this.#storedAt);
    await this.#noteThrough(through);
  }

  /** An idle source's position is stored at most once per interval. */
  async #storeEmpty({ offset, manifest }: StoredManifest): Promise<void> {
    const { client, state, status, clock } = this.#options;
    const through = parseLsn(manifest.through);
    if (this.#isOpen || (clock() - this.#storedAt < EMPTY_INTERVAL_MS && this.#isLoadDone)) return;
    await client.query('BEGIN');
    await state.guard(client, 'UPDATE');
    await state.moveTo(client, { epoch: manifest.epoch, commit: null, through, nextOffset: offset + 1n });
    await client.query('COMMIT');
    this.#storedAt = clock();
    status.through = manifest.through;
    status.lagSeconds = 0;
    await this.#noteThrough(through);
  }

  async #noteThrough(through: Lsn): Promise<void> {
    if (this.#isLoadDone || through < this.#newestSnapshot) return;
    await this.#options.onCaughtUp();
    this.#isLoadDone = true;
  }

  async #readPart(manifest: Manifest, signal: AbortSignal): Promise<Part> {
    const parts = await Promise.all(this.#options.structures.eventRanges(manifest).map((range) => this.#readRange(range, signal)));
    return { tables: parts.flatMap((part) => part.tables), bytes: parts.reduce((sum, part) => sum + part.bytes, 0) };
  }

  /** A topic's changes; those that its snapshot has already are dropped. Usually one structure, so one entry. */
  async #readRange(range: ManifestRange, signal: AbortSignal): Promise<Part> {
    const { reader, structures, client, loads } = this.#options;
    const snapshot = loads.get(range.topic)?.snapshot ?? LSN_ZERO;
    const tables: { table: TargetTable; changes: RowChange[] }[] = [];
    let version = -1;
    let bytes = 0;
    for await (const records of reader.read(range, signal)) {
      for (const record of records) {
        const headers = readStreamHeaders(record);
        bytes += record.value?.length ?? 0;
        if (headers !== null && headers.position.commit < snapshot) continue;
        if (headers !== null && headers.structure !== version) {
          ({ structure: version } = headers);
          tables.push({ table: await structures.table(client, structures.structure(range.topic, version), version), changes: [] });
        }
        const current = tables.at(-1);
        const change = parseChange(record, current?.table.structure ?? structures.newest(range.topic));
        if (change !== null) current?.changes.push(change);
      }
    }
    return { tables, bytes };
  }

  async #truncations(manifest: Manifest): Promise<Truncation[]> {
    const { client, structures, loads } = this.#options;
    const truncations: Truncation[] = [];
    for (const entry of manifest.control) {
      if (entry.kind !== 'truncate') continue;
      const position = truncationPosition(entry);
      const topics = entry.topics.filter((topic) => position.commit >= (loads.get(topic)?.snapshot ?? LSN_ZERO));
      const tables: TargetTable[] = [];
      for (const topic of topics) {
        const structure = structures.newest(topic);
        tables.push(await structures.table(client, structure, structureVersion(structure)));
      }
      truncations.push({ position, tables, cascade: entry.cascade });
    }
    return truncations;
  }
}

interface Part {
  readonly tables: readonly TableChanges[];
  readonly bytes: number;
}

const COUNTERS = { insert: 'insert', update: 'update', delete: 'delete' } as const;

function noteEpoch(status: ServiceStatus, manifest: Manifest, part: Part, seconds: number, now: number): void {
  let events = 0;
  for (const { changes } of part.tables) {
    events += changes.length;
    for (const change of changes) status.events[COUNTERS[change.kind]] += 1;
  }
  status.events.truncate += manifest.control.filter((entry) => entry.kind === 'truncate').length;
  status.state = 'streaming';
  status.through = manifest.through;
  status.epoch = manifest.epoch;
  status.epochs += 1;
  status.lastEpochEvents = events;
  status.lastEpochBytes = part.bytes;
  status.lastEpochSeconds = seconds;
  status.lagSeconds = manifest.commitTime === null ? 0 : Math.max(0, now / 1000 - Number(manifest.commitTime) / 1e6);
}
