import type pg from 'pg';
import { readSlot } from '#adapters/postgres/source/slot.ts';
import { currentLsn } from '#adapters/postgres/source/source-identity.ts';
import { VisibleCommits } from '#adapters/postgres/source/visible-commits.ts';
import { pause } from '#core/backoff.ts';
import type { BoundedQueue } from '#core/bounded-queue.ts';
import { reactTo } from '#core/error-policy.ts';
import { keeperApplication, producerLease } from '#core/session-names.ts';
import { beginCapture, type BegunCapture } from './begun-capture.ts';
import { requireOwnSlot } from './birth.ts';
import { capture } from './capture.ts';
import { HEARTBEAT_PREFIX } from './change-assembler.ts';
import { Closers } from './closers.ts';
import { findHistory, type FoundHistory } from './found-history.ts';
import { LoadSnapshots } from './load-snapshots.ts';
import { openStream, type OpenStream } from './open-stream.ts';
import { ProducerLoads } from './producer-loads.ts';
import type { ProducerParts } from './producer-parts.ts';

const FIGURES_INTERVAL_MS = 2_000;

/**
 * One attempt, by the holder of the lease: opens the writer, goes on where the last manifest says, and runs capture, load
 * and publisher until aborted (then what is complete is written and confirmed) or until one of them fails (then all end).
 */
export async function produce(parts: ProducerParts, signal: AbortSignal): Promise<void> {
  const closers = new Closers();
  const ended = new AbortController();
  try {
    const either = AbortSignal.any([signal, ended.signal]);
    const history = await findHistory(parts, closers);
    const begun = await beginCapture(parts, history, closers, either);
    const stream = await openStream(parts, history, begun, closers, either);
    await new ProducerRun(parts, history, begun, stream, closers).run(signal, either, ended);
  } finally {
    ended.abort();
    await closers.closeAll(parts.logger);
  }
}

class ProducerRun {
  readonly #parts: ProducerParts;
  readonly #history: FoundHistory;
  readonly #begun: BegunCapture;
  readonly #open: OpenStream;
  readonly #closers: Closers;

  constructor(parts: ProducerParts, history: FoundHistory, begun: BegunCapture, open: OpenStream, closers: Closers) {
    this.#parts = parts;
    this.#history = history;
    this.#begun = begun;
    this.#open = open;
    this.#closers = closers;
  }

  /** `ended`: aborted when one of the loops fails; `either`: then, or with `signal`. */
  async run(signal: AbortSignal, either: AbortSignal, ended: AbortController): Promise<void> {
    const { config, status } = this.#parts;
    const { client, manifests, written } = this.#history;
    const { born, announced, unfinished, debezium, ...loading } = this.#begun;
    const { publisher, parts, load: queue, stream, book, late } = this.#open;
    status.load.isDone = manifests.last?.loaded === true;
    status.state = status.load.isDone ? 'streaming' : 'loading';
    const snapshots = this.#openSnapshots(client);
    if (status.load.isDone) await snapshots.endAll();
    const tools = { ...loading, client, manifests, written, book, late, queue, snapshots };
    const loads = new ProducerLoads(this.#parts, tools);
    const isFirst = !status.load.isDone && announced === null;
    const load = isFirst ? loads.first(born, unfinished, either) : Promise.resolve();
    const tasks = [
      // Only then every table's snapshot is known, and so what of the stream other readers have in it already.
      (debezium === null ? loading.tableTopics.whenAllMade() : load).then(() => this.#follow(either)),
      load.then(() => loads.serve(announced === null ? null : unfinished, either)),
      this.#watch(either).catch((error: unknown) => {
        if (reactTo(error).do === 'stop') stream.freeze();
        throw error;
      }),
    ];
    try {
      await runTogether(tasks, publisher.run(either), ended, [parts, queue]);
    } finally {
      if (signal.aborted && manifests.last?.loaded !== true) snapshots.noteStop(config.source.keepSnapshotMinutes);
    }
  }

  #follow(signal: AbortSignal): Promise<void> {
    const { config, logger, waits, rewrites, gate } = this.#parts;
    const { stream, book, assembler, epochs, parts, late, notifier } = this.#open;
    return capture(
      {
        stream: { frames: (until) => waits.through(stream.frames(until)) },
        book,
        commits: new VisibleCommits(this.#history.client, logger),
        assembler,
        epochs,
        parts,
        rewrites,
        late,
        onRewrite: config.source.onRewrite,
        notifier,
        limits: config.epoch,
        gate,
      },
      signal,
    );
  }

  #openSnapshots(client: pg.Client): LoadSnapshots {
    const { config, connect, connectReplication, startKeeper, leaseBackend, logger, failpoints } = this.#parts;
    const { slot } = config.source;
    const application = keeperApplication(config.name);
    const lease = { name: producerLease(config.name), backend: leaseBackend };
    const tools = { client, connect, connectReplication, startKeeper, logger, failpoints };
    const snapshots = new LoadSnapshots({ ...tools, slot, application, lease });
    this.#closers.add(() => snapshots.close());
    return snapshots;
  }

  /** Figures for status, and the heartbeat: an idle database's slot moves only when its WAL does. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { config, status, clock, ground, connect } = this.#parts;
    const { manifests } = this.#history;
    const { epochs, stream } = this.#open;
    const client = await this.#closers.open(connect());
    let beatAt = clock();
    let reached = epochs.reached;
    while (!signal.aborted) {
      await pause(FIGURES_INTERVAL_MS, signal);
      const slot = await readSlot(client, config.source.slot);
      await this.#begun.partitions?.requireAllKept();
      requireOwnSlot(config.source.slot, slot, manifests.last);
      await ground.require(client);
      status.lagBytes = Math.max(0, Number((await currentLsn(client)) - stream.confirmed));
      if (clock() - beatAt < config.source.heartbeatMs && manifests.floors.length === 0) continue;
      beatAt = clock();
      const isIdle = epochs.reached === reached && !epochs.hasContent;
      reached = epochs.reached;
      if (isIdle) await emitHeartbeat(client);
    }
  }
}

async function emitHeartbeat(client: pg.Client): Promise<void> {
  await client.query(`SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_logical_emit_message(true, $1, '') END`, [
    HEARTBEAT_PREFIX,
  ]);
}

/** The first failure ends the others; the publisher ends last, so that a drain writes what is complete. */
async function runTogether(
  tasks: readonly Promise<void>[],
  publisher: Promise<void>,
  ended: AbortController,
  queues: readonly Pick<BoundedQueue<unknown>, 'close'>[],
): Promise<void> {
  let failure: { readonly error: unknown } | null = null;
  const fail = (error: unknown): void => {
    failure ??= { error };
    ended.abort();
    for (const queue of queues) queue.close(error);
  };
  const guarded = [...tasks, publisher].map((task) => task.catch(fail));
  await guarded.at(-1);
  for (const queue of queues) queue.close(new Error('the producer ended'));
  await Promise.all(guarded);
  if (failure !== null) throw (failure as { readonly error: unknown }).error;
}
