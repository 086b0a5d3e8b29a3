import type pg from 'pg';
import type { TableLoad, TargetState } from '#adapters/postgres/target/target-state.ts';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import { parseLsn, LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import type { ServiceStatus } from '#core/status.ts';
import { structureVersion } from '#core/structure.ts';
import { applyPart, settleConstraints, truncationPosition, type Truncation } from './epoch-apply.ts';
import { readPart, type ReadPart } from './part-reader.ts';
import type { StructureBook } from './structure-book.ts';
import { EpochTally } from './epoch-tally.ts';
import type { TableChanges, TableRanks } from './segment-apply.ts';

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
  /** Where foreign keys are checked, how the tables stand to each other now; else null. */
  readonly readRanks: () => Promise<TableRanks | null>;
  readonly isLoadDone: boolean;
}

const EMPTY_INTERVAL_MS = 10_000;

/** The second pass: stream epochs in order, each in one target transaction with the position (invariants 2 and 4), until aborted. */
export class StreamPass {
  readonly #options: StreamPassOptions;
  readonly #newestSnapshot: Lsn;
  #isLoadDone: boolean;
  #tally: EpochTally | null = null;
  #storedAt = 0;
  #ranks: TableRanks | null = null;

  constructor(options: StreamPassOptions) {
    this.#options = options;
    this.#isLoadDone = options.isLoadDone;
    this.#newestSnapshot = [...options.loads.values()].reduce(
      (newest, { snapshot }) => (snapshot !== null && snapshot > newest ? snapshot : newest),
      LSN_ZERO,
    );
  }

  async run(from: bigint, through: Lsn, signal: AbortSignal): Promise<void> {
    const { reader, client } = this.#options;
    this.#ranks = await this.#options.readRanks();
    await this.#noteThrough(through);
    try {
      for await (const manifests of reader.manifests(from, signal)) {
        await this.#takeAll(manifests, signal);
        if (signal.aborted) return;
      }
    } finally {
      if (this.#tally !== null) await client.query('ROLLBACK').catch(() => undefined);
    }
  }

  /** While one part is applied, the next one's data is read: one ahead, never more (invariant 6). */
  async #takeAll(manifests: readonly StoredManifest[], signal: AbortSignal): Promise<void> {
    let ahead: Promise<ReadPart> | null = null;
    for (const [index, stored] of manifests.entries()) {
      if (this.#tally === null) await this.#options.whenRunning();
      if (signal.aborted) return;
      if (stored.manifest.kind !== 'stream') {
        await this.#pass(stored);
        continue;
      }
      const part = await (ahead ?? this.#read(stored.manifest, signal));
      if (signal.aborted) return;
      const following = manifests[index + 1]?.manifest;
      ahead = following?.kind === 'stream' ? this.#read(following, signal) : null;
      // Its error is thrown when its turn comes; should this part fail before, nobody asks for it.
      ahead?.catch(() => undefined);
      await this.#apply(stored, part);
    }
  }

  #read(manifest: Manifest, signal: AbortSignal): Promise<ReadPart> {
    const { reader, structures, loads } = this.#options;
    return readPart(reader, structures, (topic) => loads.get(topic)?.snapshot ?? null, manifest, signal);
  }

  /** Manifests without changes of the stream. */
  async #pass(stored: StoredManifest): Promise<void> {
    const { manifest } = stored;
    if (manifest.kind === 'empty') return this.#storeEmpty(stored);
    const isUnknown =
      manifest.tables?.some(({ topic }) => (this.#options.loads.get(topic)?.load ?? 0) < manifest.load) ?? false;
    if (manifest.kind !== 'plan' || !isUnknown) return;
    throw new RestageError('manifest_invalid', `load ${manifest.load} begins after the initial load has ended`, {
      where: `.epochs, offset ${stored.offset}`,
      fix: 'load the tables that were added through a pipeline of their own',
    });
  }

  async #apply({ offset, manifest }: StoredManifest, part: ReadPart): Promise<void> {
    const { client, state, status, clock } = this.#options;
    if (this.#tally === null) {
      this.#tally = new EpochTally(clock());
      await client.query('BEGIN');
      await state.guard(client, 'UPDATE');
      await client.query('SET CONSTRAINTS ALL DEFERRED');
    }
    const mismatch: ErrorCode = this.#isLoadDone ? 'target_drift' : 'load_overlap';
    const tables = await this.#match(part);
    await applyPart(client, tables, await this.#truncations(manifest), mismatch, this.#ranks);
    this.#tally.add(manifest, tables, part.bytes);
    if (!manifest.last) return;
    const through = parseLsn(manifest.through);
    const commit = manifest.lastCommit === null ? null : parseLsn(manifest.lastCommit);
    await settleConstraints(client);
    await state.moveTo(client, { epoch: manifest.epoch, commit, through, nextOffset: offset + 1n });
    await client.query('COMMIT');
    this.#storedAt = clock();
    this.#tally.report(status, manifest, this.#storedAt);
    this.#tally = null;
    await this.#noteThrough(through);
  }

  /** An idle source's position is stored at most once per interval. */
  async #storeEmpty({ offset, manifest }: StoredManifest): Promise<void> {
    const { client, state, status, clock } = this.#options;
    status.through = manifest.through;
    status.lagSeconds = 0;
    const isAwaited = !this.#isLoadDone || manifest.control.some((entry) => entry.kind === 'barrier');
    if (!isAwaited && clock() - this.#storedAt < EMPTY_INTERVAL_MS) return;
    const through = parseLsn(manifest.through);
    await client.query('BEGIN');
    await state.guard(client, 'UPDATE');
    await state.moveTo(client, { epoch: manifest.epoch, commit: null, through, nextOffset: offset + 1n });
    await client.query('COMMIT');
    this.#storedAt = clock();
    await this.#noteThrough(through);
  }

  async #noteThrough(through: Lsn): Promise<void> {
    if (this.#isLoadDone || through < this.#newestSnapshot) return;
    await this.#options.onCaughtUp();
    this.#options.structures.forgetTables();
    this.#ranks = await this.#options.readRanks();
    this.#isLoadDone = true;
  }

  async #match(part: ReadPart): Promise<TableChanges[]> {
    const { client, structures } = this.#options;
    const tables: TableChanges[] = [];
    for (const { structure, version, changes } of part.groups)
      tables.push({ table: await structures.table(client, structure, version), changes });
    return tables;
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
      truncations.push({ position, tables, isPartial: topics.length < entry.topics.length });
    }
    return truncations;
  }
}
