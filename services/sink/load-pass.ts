import type pg from 'pg';
import { copyRows } from '#adapters/postgres/target/copy-rows.ts';
import { emptyTable } from '#adapters/postgres/target/empty-table.ts';
import type { TargetState } from '#adapters/postgres/target/target-state.ts';
import { readTargetTable } from '#adapters/postgres/target/target-table.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import { parseLsn } from '#core/lsn.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import type { ServiceStatus } from '#core/status.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import { parseSnapshotRow } from './event-parser.ts';
import type { StructureBook } from './structure-book.ts';

export interface LoadPassOptions {
  readonly reader: EpochReader;
  readonly structures: StructureBook;
  readonly state: TargetState;
  readonly schema: TargetSchema;
  readonly client: pg.Client;
  readonly connect: () => Promise<pg.Client>;
  readonly workers: number;
  readonly status: ServiceStatus;
  /** Resolves while the sink is not paused. */
  readonly whenRunning: () => Promise<void>;
}

/**
 * The first pass: from the first plan to `end`, chunks only, several at once, each part in a transaction with its row in the ledger.
 * Repeats nothing after a crash. Resolves true at `end`, false when aborted before.
 */
export async function runLoadPass(options: LoadPassOptions, from: bigint, signal: AbortSignal): Promise<boolean> {
  const clients = await Promise.all(Array.from({ length: options.workers }, options.connect));
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  const pool = new ChunkPool(options, clients, stop);
  try {
    for await (const manifests of options.reader.manifests(from, stop)) {
      for (const stored of manifests) {
        await options.whenRunning();
        if (stop.aborted) break;
        if (await takeManifest(options, pool, stored)) return true;
      }
    }
    await pool.drain();
    return false;
  } catch (error) {
    failed.abort();
    throw error;
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => undefined)));
  }
}

/** True when this is the load's `end` and everything before it is applied. */
async function takeManifest(options: LoadPassOptions, pool: ChunkPool, { manifest }: StoredManifest): Promise<boolean> {
  switch (manifest.kind) {
    case 'plan':
      await pool.drain();
      await takePlan(options, manifest);
      return false;
    case 'chunk':
      await pool.submit(manifest);
      return false;
    case 'tableEnd':
      await pool.drain();
      await endTable(options, manifest);
      return false;
    case 'end':
      await pool.drain();
      return true;
    case 'intent':
    case 'origin':
    case 'stream':
    case 'empty':
      await options.structures.learn(manifest, new AbortController().signal);
      return false;
  }
}

/** Tables of a plan start empty: what an earlier load brought of them is removed with its ledger, in one transaction. */
async function takePlan(options: LoadPassOptions, manifest: Manifest): Promise<void> {
  const { client, state, structures, schema, status } = options;
  await structures.learn(manifest, new AbortController().signal);
  const tables = manifest.tables ?? [];
  const loads = await state.tableLoads(client);
  if (loads.size === 0) await schema.preData(tables.map((table) => structures.newest(table.topic)));
  for (const table of tables) await readTargetTable(client, structures.newest(table.topic));
  const fresh = tables.filter((table) => (loads.get(table.topic)?.load ?? 0) < manifest.load);
  await client.query('BEGIN');
  await state.guard(client, 'UPDATE');
  for (const { topic } of fresh) {
    if (loads.has(topic)) await emptyTable(client, structures.newest(topic));
    await state.planTable(client, topic, manifest.load);
  }
  await client.query('COMMIT');
  status.state = 'loading';
  status.load.tables = tables.length;
  status.load.chunks = tables.reduce((sum, table) => sum + table.chunks, 0);
  status.load.tablesDone = 0;
  status.load.chunksDone = 0;
}

async function endTable(options: LoadPassOptions, manifest: Manifest): Promise<void> {
  const { client, state, status } = options;
  const { table, snapshot, load } = manifest;
  if (table === undefined || snapshot === undefined)
    throw new RestageError('manifest_invalid', 'a tableEnd names no table or snapshot');
  const known = (await state.tableLoads(client)).get(table.topic);
  if (known === undefined || known.load > load) return;
  await client.query('BEGIN');
  await state.guard(client, 'UPDATE');
  await state.endTable(client, table.topic, parseLsn(snapshot));
  await client.query('COMMIT');
  status.load.tablesDone += 1;
}

/** A fixed number of connections; `submit` waits for a free one (invariant 6). */
class ChunkPool {
  readonly #options: LoadPassOptions;
  readonly #idle: pg.Client[];
  readonly #signal: AbortSignal;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | null = null;

  constructor(options: LoadPassOptions, clients: readonly pg.Client[], signal: AbortSignal) {
    this.#options = options;
    this.#idle = [...clients];
    this.#signal = signal;
  }

  async submit(manifest: Manifest): Promise<void> {
    while (this.#idle.length === 0 && this.#failure === null) await Promise.race(this.#running);
    this.#throwFailure();
    const client = this.#idle.pop();
    if (client === undefined) return;
    const task = applyChunk(this.#options, client, manifest, this.#signal)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#idle.push(client);
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

async function applyChunk(
  options: LoadPassOptions,
  client: pg.Client,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<void> {
  const { table, chunk, part, rows, load } = manifest;
  if (table === undefined || chunk === undefined)
    throw new RestageError('manifest_invalid', 'a chunk manifest names no table or chunk');
  const { state, structures, status } = options;
  await client.query('BEGIN');
  try {
    await state.guard(client, 'SHARE');
    const known = (await state.tableLoads(client)).get(table.topic);
    const isNew =
      known?.load === load &&
      (await state.noteChunk(client, { topic: table.topic, load, chunk, part, rows: rows ?? 0 }));
    if (isNew) {
      const structure = structures.newest(table.topic);
      const copied = await copyChunk(options, client, manifest, structure, signal);
      if (copied !== (rows ?? 0) && !signal.aborted) {
        throw new RestageError('load_overlap', `a chunk has ${copied} rows instead of ${rows ?? 0}`, {
          where: `topic ${table.topic}, chunk ${chunk}, part ${part}`,
        });
      }
      status.load.rows += copied;
      status.events.snapshot += copied;
    }
    if (signal.aborted) throw new RestageError('transient', 'the sink stops');
    await client.query('COMMIT');
    status.load.chunksDone += manifest.last ? 1 : 0;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

async function copyChunk(
  options: LoadPassOptions,
  client: pg.Client,
  manifest: Manifest,
  structure: TableStructure,
  signal: AbortSignal,
): Promise<number> {
  const columns = structure.columns.filter((column) => !column.generated).map((column) => column.name);
  const table = await options.structures.table(client, structure, structureVersion(structure));
  let copied = 0;
  for (const range of options.structures.eventRanges(manifest)) {
    copied += await copyRows(client, table.sql, columns, rowsOf(options, range, structure, columns, signal));
  }
  return copied;
}

async function* rowsOf(
  options: LoadPassOptions,
  range: Manifest['ranges'][number],
  structure: TableStructure,
  columns: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<(string | null)[][]> {
  for await (const records of options.reader.read(range, signal))
    yield records.map((record) => parseSnapshotRow(record, structure, columns));
}
