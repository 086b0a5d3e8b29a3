import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { LagMeter } from '#core/lag-meter.ts';
import type { Failpoints } from '#core/failpoints.ts';
import { parseLsn } from '#core/lsn.ts';
import type { Manifest, ManifestRange, StoredManifest } from '#core/manifest.ts';
import type { KafkaRecord } from '#core/record.ts';
import type { RowValues } from '#core/row-image.ts';
import type { ServiceStatus } from '#core/status.ts';
import { parseSnapshotRow, snapshotVersion } from './event-parser.ts';
import type { LoadPlace } from './load-place.ts';
import type { StructureBook } from './structure-book.ts';
import type { TargetSession, TargetSessions } from './target.ts';

export interface LoadPassOptions {
  readonly reader: EpochReader;
  readonly structures: StructureBook;
  readonly place: LoadPlace;
  readonly session: TargetSession;
  readonly target: TargetSessions;
  readonly workers: number;
  readonly status: ServiceStatus;
  readonly lag: LagMeter;
  /** Resolves while the sink is not paused. */
  readonly whenRunning: () => Promise<void>;
  readonly failpoints: Failpoints;
}

/** Chunks go into one transaction up to as many, and up to so many rows. */
const GROUPED_CHUNKS = 200;
const GROUPED_ROWS = 5_000;

/**
 * The first pass: from a plan or an announcement to the next `end`, chunks only, several at once, each part in a transaction with its row in the ledger.
 * Repeats nothing after a crash. Resolves true at `end`, false when aborted before.
 */
export async function runLoadPass(options: LoadPassOptions, from: bigint, signal: AbortSignal): Promise<boolean> {
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  const sessions: TargetSession[] = [];
  try {
    for (let index = 0; index < options.workers; index += 1) {
      const session = await options.target.open();
      sessions.push(session);
      await session.takeover.actAsReplica();
    }
    const pool = new ChunkPool(options, sessions, stop, () => failed.abort());
    const run = new LoadRun(options, pool);
    for await (const manifests of options.reader.manifests(from, stop)) {
      for (const stored of manifests) {
        options.lag.see(stored.manifest);
        await options.whenRunning();
        if (stop.aborted) break;
        if (await run.take(stored, stop)) return !signal.aborted;
      }
      if (!stop.aborted) await run.flush();
    }
    await pool.drain();
    return false;
  } catch (error) {
    failed.abort();
    throw error;
  } finally {
    await Promise.all(sessions.map((session) => session.end()));
  }
}

/** Small chunks share a transaction, and so do the ends of tables: of thousands of tables each would wait for the disk by itself. */
class LoadRun {
  readonly #options: LoadPassOptions;
  readonly #pool: ChunkPool;
  #chunks: Manifest[] = [];
  #rows = 0;
  #ended: Manifest[] = [];

  constructor(options: LoadPassOptions, pool: ChunkPool) {
    this.#options = options;
    this.#pool = pool;
  }

  /** True when this is the load's `end` and everything before it is applied. */
  async take({ manifest }: StoredManifest, signal: AbortSignal): Promise<boolean> {
    const { structures } = this.#options;
    switch (manifest.kind) {
      case 'plan':
        await this.flush();
        await this.#pool.drain();
        await takePlan(this.#options, manifest, signal);
        return false;
      case 'chunk':
        await structures.learn(manifest, signal);
        await this.#takeChunk(manifest);
        return false;
      case 'tableEnd':
        this.#ended.push(manifest);
        return false;
      case 'end':
        await this.flush();
        await this.#pool.drain();
        return true;
      case 'intent':
      case 'origin':
      case 'announce':
      case 'stream':
      case 'empty':
        await structures.learn(manifest, signal);
        return false;
    }
  }

  async #takeChunk(manifest: Manifest): Promise<void> {
    this.#chunks.push(manifest);
    this.#rows += manifest.rows ?? 0;
    if (this.#rows >= GROUPED_ROWS || this.#chunks.length >= GROUPED_CHUNKS) await this.#submit();
  }

  async #submit(): Promise<void> {
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#rows = 0;
    if (chunks.length > 0) await this.#pool.submit(chunks);
  }

  /** What waits for more of its kind. A table's end comes after all of its chunks. */
  async flush(): Promise<void> {
    await this.#submit();
    const ended = this.#ended;
    this.#ended = [];
    if (ended.length === 0) return;
    await this.#pool.drain();
    await endTables(this.#options, ended);
  }
}

async function takePlan(options: LoadPassOptions, manifest: Manifest, signal: AbortSignal): Promise<void> {
  const { session, structures, place, status } = options;
  const planned = await structures.planned(manifest, signal);
  if (signal.aborted) return;
  await place.plan(session, manifest, planned);
  const tables = manifest.tables ?? [];
  status.state = 'loading';
  status.load.tables = tables.length;
  status.load.chunks = tables.reduce((sum, table) => sum + table.chunks, 0);
  status.load.tablesDone = 0;
  status.load.chunksDone = 0;
}

async function endTables(options: LoadPassOptions, manifests: readonly Manifest[]): Promise<void> {
  const { session, place, status, failpoints } = options;
  const loads = await place.loads(session);
  const ended = new Map<string, string[]>();
  for (const { table, snapshot, load, ended: tables } of manifests) {
    if (table === undefined || snapshot === undefined)
      throw new RestageError('manifest_invalid', 'a tableEnd names no table or snapshot');
    const known = loads.get(table.topic)?.load;
    if (known === undefined || known > load) continue;
    const topics = (tables ?? [table]).map(({ topic }) => topic);
    ended.set(snapshot, [...(ended.get(snapshot) ?? []), ...topics]);
  }
  if (ended.size === 0) return;
  await session.transaction.begin('UPDATE');
  for (const [snapshot, topics] of ended) await place.endTables(session, topics, parseLsn(snapshot));
  for (let hits = manifests.length; hits > 0; hits -= 1) failpoints.hit('sink.tableEnd.before');
  await session.transaction.commit();
  for (let hits = manifests.length; hits > 0; hits -= 1) failpoints.hit('sink.tableEnd.after');
  for (const topics of ended.values()) status.load.tablesDone += topics.length;
}

/** A fixed number of connections; `submit` waits for a free one (invariant 6). */
class ChunkPool {
  readonly #options: LoadPassOptions;
  readonly #idle: TargetSession[];
  readonly #signal: AbortSignal;
  readonly #onFailure: () => void;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | null = null;

  /** `onFailure` wakes whoever waits for the next manifest. */
  constructor(
    options: LoadPassOptions,
    sessions: readonly TargetSession[],
    signal: AbortSignal,
    onFailure: () => void,
  ) {
    this.#options = options;
    this.#idle = [...sessions];
    this.#signal = signal;
    this.#onFailure = onFailure;
  }

  /** Chunks of one transaction. */
  async submit(manifests: readonly Manifest[]): Promise<void> {
    while (this.#idle.length === 0 && this.#failure === null) await Promise.race(this.#running);
    this.#throwFailure();
    const session = this.#idle.pop();
    if (session === undefined) return;
    const task = applyChunks(this.#options, session, manifests, this.#signal)
      .catch((error: unknown) => {
        this.#failure ??= { error };
        this.#onFailure();
      })
      .finally(() => {
        this.#idle.push(session);
        this.#running.delete(task);
      });
    this.#running.add(task);
  }

  async drain(): Promise<void> {
    await Promise.all(this.#running);
    this.#throwFailure();
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }
}

async function applyChunks(
  options: LoadPassOptions,
  session: TargetSession,
  manifests: readonly Manifest[],
  signal: AbortSignal,
): Promise<void> {
  const { place, status, failpoints, lag } = options;
  let copied = 0;
  await session.transaction.begin('SHARE');
  try {
    const loads = await place.loads(session);
    for (const manifest of manifests) copied += await applyChunk(options, session, manifest, loads, signal);
    for (let hits = manifests.length; hits > 0; hits -= 1) failpoints.hit('sink.chunk.before');
    await session.transaction.commit();
    for (let hits = manifests.length; hits > 0; hits -= 1) failpoints.hit('sink.chunk.after');
  } catch (error) {
    await session.transaction.rollback().catch(() => undefined);
    throw error;
  }
  for (const manifest of manifests) lag.loaded(manifest);
  status.load.rows += copied;
  status.events.snapshot += copied;
  status.load.chunksDone += manifests.filter(({ last }) => last).length;
}

/** Returns how many rows it brought: none where the ledger has it. */
async function applyChunk(
  options: LoadPassOptions,
  session: TargetSession,
  manifest: Manifest,
  loads: ReadonlyMap<string, { readonly load: number }>,
  signal: AbortSignal,
): Promise<number> {
  const { table, chunk, part, load, rows = 0 } = manifest;
  if (table === undefined || chunk === undefined)
    throw new RestageError('manifest_invalid', 'a chunk manifest names no table or chunk');
  if (loads.get(table.topic)?.load !== load) return 0;
  if (!(await session.loads.noteChunk({ topic: table.topic, load, chunk, part, rows }))) return 0;
  let copied = 0;
  for (const range of options.structures.eventRanges(manifest))
    copied += await copyRange(options, session, range, signal);
  if (signal.aborted) throw new RestageError('transient', 'the sink stops');
  if (copied === rows) return copied;
  throw new RestageError('load_overlap', `a chunk has ${copied} rows instead of ${rows}`, {
    where: `topic ${table.topic}, chunk ${chunk}, part ${part}`,
  });
}

/** A chunk's part is of one structure, that of its snapshot, which its rows name. */
async function copyRange(
  options: LoadPassOptions,
  session: TargetSession,
  range: ManifestRange,
  signal: AbortSignal,
): Promise<number> {
  const { reader, structures, place } = options;
  const batches = reader.read(range, signal)[Symbol.asyncIterator]();
  const head = await batches.next();
  const first = head.done === true ? undefined : head.value[0];
  if (head.done === true || first === undefined) return 0;
  const structure = structures.structure(range.topic, snapshotVersion(first, range.topic));
  const columns = structure.columns.filter((column) => !column.generated).map((column) => column.name);
  const rowsOf = (records: readonly KafkaRecord[]): RowValues[] =>
    records.map((record) => parseSnapshotRow(record, structure, columns));
  async function* chunks(records: readonly KafkaRecord[]): AsyncGenerator<RowValues[]> {
    yield rowsOf(records);
    for (let next = await batches.next(); next.done !== true; next = await batches.next()) yield rowsOf(next.value);
  }
  return session.rows.copy(place.placeOf(structure), columns, chunks(head.value));
}
