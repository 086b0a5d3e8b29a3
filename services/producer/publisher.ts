import type { TablePiece } from '#adapters/postgres/source/snapshot-reader.ts';
import type { BoundedQueue } from '#core/bounded-queue.ts';
import type { EpochConfig } from '#core/config.ts';
import { EpochPace } from '#core/epoch-pace.ts';
import type { EpochWriter, ManifestDraft } from '#core/epoch-writer.ts';
import { RestageError } from '#core/errors.ts';
import { formatLsn, LSN_ZERO, parseLsn, type Lsn } from '#core/lsn.ts';
import { MANIFEST_FORMAT, type Manifest } from '#core/manifest.ts';
import type { Notifier } from '#core/notifier.ts';
import { countRecords } from '#core/record-counts.ts';
import { noteAge, noteEpochPart, type ServiceStatus } from '#core/status.ts';
import type { DebeziumHeartbeat } from './debezium-heartbeat.ts';
import { isLateOpen, type Announcement, type LateLoads } from './late-loads.ts';
import { chunksIn, takeGroup, type LoadItem } from './load-item.ts';
import type { ManifestBook } from './manifest-book.ts';
import type { RewriteMark } from './rewrites.ts';
import type { StreamEpochs, StreamPart } from './stream-epochs.ts';

export interface PublisherOptions {
  readonly writer: EpochWriter;
  readonly book: ManifestBook;
  readonly epochs: StreamEpochs;
  readonly parts: BoundedQueue<StreamPart | RewriteMark>;
  readonly load: BoundedQueue<LoadItem>;
  readonly late: LateLoads;
  readonly notifier: Notifier;
  readonly limits: EpochConfig;
  readonly heartbeatMs: number;
  /** Tells the source what it may forget: after the manifest is committed, never before (invariant 1). */
  readonly confirm: (through: Lsn) => void;
  readonly status: ServiceStatus;
  readonly clock: () => number;
  /** Profile `debezium`, else null: then the stream also waits for the load's end, for other readers know nothing of manifests. */
  readonly debezium: DebeziumHeartbeat | null;
}

type CutTable = NonNullable<Manifest['tables']>[number];

const LONGEST_WAIT_MS = 1_000;
/** A part of a chunk is smaller than one of the stream: several wait in the queue. */
export const LOAD_PARTS = 4;

/**
 * The one loop that writes to Kafka: stream epochs and load items in turn, so that neither starves the other, and the
 * parts of one epoch without anything between. Returns when aborted and what was complete is written.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  #isMidEpoch: boolean;
  #isLoadsTurn = false;
  #wroteAt: number;
  readonly #pace: EpochPace;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#isMidEpoch = !options.book.resume().last;
    this.#wroteAt = options.clock();
    this.#pace = new EpochPace(options.limits.lingerMs, this.#wroteAt);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { load, notifier } = this.#options;
    for (;;) {
      const hasPart = this.#hasPart(signal.aborted);
      const announcement = signal.aborted ? null : this.#dueAnnouncement();
      if (announcement !== null) await this.#announce(announcement);
      else if (load.length > 0 && !this.#isMidEpoch && (this.#isLoadsTurn || !hasPart) && !signal.aborted)
        await this.#writeLoadItem();
      else if (hasPart) await this.#takePart();
      else if (signal.aborted) return;
      else if (this.#isEmptyDue()) await this.#writeEmpty();
      else await notifier.wait(this.#waitMs(), signal);
    }
  }

  /** Between epochs only, and after the end of the load before: readers take one load at a time. */
  #dueAnnouncement(): Announcement | null {
    const { book, late, load } = this.#options;
    return this.#isMidEpoch || book.last?.loaded !== true || load.length > 0 ? null : late.wanted;
  }

  async #announce(announcement: Announcement): Promise<void> {
    const { book, late, status } = this.#options;
    const tables = announcement.tables.map((table) => ({ ...nameOf(table), chunks: 0, rows: 0 }));
    const requests = [...announcement.requests];
    await this.#write(
      book.draft('announce', { load: book.load + 1, tables, loaded: false, late: { at: null, requests } }),
      announcement.data,
    );
    late.noteAnnounced(announcement);
    status.load.isDone = false;
    status.state = 'loading';
  }

  #hasPart(isDraining: boolean): boolean {
    const { parts, epochs, limits, clock, book } = this.#options;
    // Readers begin at the first plan: what stood before it on `.epochs` would be lost to them (invariant 3).
    if ((book.last?.plan ?? null) === null || this.#isHeld) return false;
    const { first } = parts;
    if (first !== undefined && 'announcement' in first)
      return !isDraining && !this.#isMidEpoch && book.last?.loaded === true;
    if (first !== undefined) return true;
    if (!epochs.isAtBoundary || !epochs.hasContent) return false;
    return (
      isDraining ||
      epochs.hasBarrier ||
      epochs.bytes >= limits.bytes ||
      this.#pace.waitMs(epochs.openedAt, clock()) === 0
    );
  }

  get #isHeld(): boolean {
    return this.#options.debezium !== null && this.#options.book.last?.loaded !== true;
  }

  #isEmptyDue(): boolean {
    const { epochs, book, heartbeatMs, clock } = this.#options;
    if ((book.last?.plan ?? null) === null || this.#isHeld) return false;
    if (!epochs.isAtBoundary || epochs.hasContent || this.#isMidEpoch) return false;
    const now = clock();
    // A load is done once the stream has passed its snapshot: nobody waits for a change or a heartbeat then.
    const isPassed = !isLateOpen(book.last) && book.floors.some(({ snapshot }) => parseLsn(snapshot) <= epochs.reached);
    const isBehind = epochs.reached > book.through && (isPassed || now - this.#wroteAt >= heartbeatMs);
    return isBehind || this.#options.debezium?.isDue(now) === true;
  }

  #waitMs(): number {
    const { epochs, clock } = this.#options;
    if (!epochs.hasContent) return Math.min(LONGEST_WAIT_MS, this.#options.debezium?.intervalMs || LONGEST_WAIT_MS);
    return Math.max(1, this.#pace.waitMs(epochs.openedAt, clock()));
  }

  async #takePart(): Promise<void> {
    const { parts, epochs } = this.#options;
    const part = parts.take() ?? epochs.take();
    if ('announcement' in part) await this.#announceRewrite(part);
    else await this.#writePart(part);
  }

  /** Not what another load has by now: it waited for that to end. */
  async #announceRewrite({ announcement, commit }: RewriteMark): Promise<void> {
    const { book, late } = this.#options;
    const floors = new Map(book.floors.map(({ topic, snapshot }) => [topic, parseLsn(snapshot)]));
    const tables = announcement.tables.filter(({ topic }) => (floors.get(topic) ?? LSN_ZERO) <= commit);
    for (const { topic } of announcement.tables) {
      const floor = floors.get(topic) ?? LSN_ZERO;
      if (floor > commit) late.noteSnapshot([topic], floor);
    }
    if (tables.length > 0) await this.#announce({ ...announcement, tables });
  }

  async #writePart(part: StreamPart): Promise<void> {
    const { book, confirm, status } = this.#options;
    const seconds = await this.#write(book.stream(part), this.#withHeartbeat(part.data));
    this.#pace.wrote(this.#wroteAt - seconds * 1000, this.#wroteAt);
    this.#isMidEpoch = !part.last;
    this.#isLoadsTurn = true;
    if (part.last) confirm(part.through);
    status.epochs += part.last ? 1 : 0;
    noteEpochPart(status, part, { events: part.events, bytes: part.bytes, seconds });
  }

  /** With no data the manifest is committed first and its LSN confirmed then (invariant 1). */
  async #writeEmpty(): Promise<void> {
    const { epochs, book, confirm } = this.#options;
    const { reached } = epochs;
    await this.#write(book.draft('empty', { through: formatLsn(reached) }), this.#withHeartbeat([]));
    confirm(reached);
  }

  #withHeartbeat(data: StreamPart['data']): StreamPart['data'] {
    return [...data, ...(this.#options.debezium?.take(this.#options.clock()) ?? [])];
  }

  async #writeLoadItem(): Promise<void> {
    const { load, book, late, limits } = this.#options;
    this.#isLoadsTurn = false;
    const group = takeGroup(load, limits.partBytes / LOAD_PARTS);
    if (group.length > 0) return this.#writeGroup(group);
    const item = load.take();
    if (item === undefined) return;
    await this.#write(loadDraft(book, item, late), item.kind === 'plan' ? item.data : []);
    noteProgress(this.#options.status, item);
    if (item.kind === 'end') late.noteEnd();
    if (item.kind === 'plan')
      late.noteSnapshot(
        item.tables.map(({ structure }) => structure.topic),
        item.snapshot,
      );
    if ('onWritten' in item) await item.onWritten?.();
  }

  /** Each manifest follows from the one before it, as if that were written. */
  async #writeGroup(group: readonly LoadItem[]): Promise<void> {
    const { writer, book, late, status, clock } = this.#options;
    const ahead = book.copy();
    const data = group.map((item) => (item.kind === 'chunk' ? item.data : []));
    const entries = group.map((item, index) => {
      const draft = loadDraft(ahead, item, late);
      requireForward(draft, ahead.through);
      ahead.note({ offset: -1n, manifest: { ...draft, format: MANIFEST_FORMAT, ranges: [] } });
      return { draft, counts: countRecords(data[index] ?? []) };
    });
    for (const stored of await writer.writeAll(entries, data.flat())) book.note(stored);
    this.#wroteAt = clock();
    for (const item of group) noteProgress(status, item);
    for (const { draft } of entries.slice(-1)) {
      status.through = draft.through;
      noteAge(status, draft, this.#wroteAt);
    }
  }

  async #write(draft: ManifestDraft, data: StreamPart['data']): Promise<number> {
    const { writer, book, status, clock } = this.#options;
    const startedAt = clock();
    requireForward(draft, book.through);
    book.note(await writer.write(draft, data));
    this.#wroteAt = clock();
    status.through = draft.through;
    noteAge(status, draft, this.#wroteAt);
    return (this.#wroteAt - startedAt) / 1000;
  }
}

/** Readers leave out what committed before what an earlier manifest says (invariant 3). @throws RestageError bug. */
function requireForward({ kind, epoch, part, firstCommit, through }: ManifestDraft, reached: Lsn): void {
  const isLate = part === 1 && firstCommit !== null && parseLsn(firstCommit) < reached;
  if (parseLsn(through) >= reached && !isLate) return;
  throw new RestageError('bug', 'a manifest would take back how far the stream is', {
    where: `${kind} of epoch ${epoch}: ${firstCommit ?? 'no commit'}, through ${through}, after ${formatLsn(reached)}`,
    fix: 'nothing is lost: report it with the log',
  });
}

function loadDraft(book: ManifestBook, item: LoadItem, late: LateLoads): ManifestDraft {
  switch (item.kind) {
    case 'plan': {
      const tables = item.tables.map(({ structure, cut, rows, version }) => {
        const bounds = late.boundsOf(structure);
        const piece = { ...nameOf(structure), chunks: chunksIn(cut), rows, version, cut: cut.map(pieceOf) };
        const before = late.nameBefore(structure);
        return {
          ...piece,
          ...(bounds === null ? {} : { bounds }),
          ...(before === null ? {} : { renamedFrom: before }),
        };
      });
      const kept = item.kept === null ? {} : { kept: item.kept };
      return book.draft('plan', {
        load: item.load,
        tables,
        snapshot: formatLsn(item.snapshot),
        ...kept,
        loaded: false,
      });
    }
    case 'chunk':
      return book.draft('chunk', {
        load: item.load,
        table: nameOf(item.table),
        chunk: item.chunk,
        part: item.part,
        last: item.last,
        rows: item.rows,
      });
    case 'tableEnd': {
      const snapshot = formatLsn(item.snapshot);
      return book.draft('tableEnd', {
        load: item.load,
        table: nameOf(item.table),
        snapshot,
        ...(isLateOpen(book.last) ? { floors: raiseFloor(book, item.table.topic, snapshot, late) } : {}),
      });
    }
    case 'end':
      return book.draft('end', { load: item.load, loaded: true });
  }
}

function pieceOf({ partition, chunks, pages }: TablePiece): NonNullable<CutTable['cut']>[number] {
  return { ...(partition === null ? {} : { partition }), chunks, ...(pages === null ? {} : { pages }) };
}

function raiseFloor(
  book: ManifestBook,
  topic: string,
  snapshot: string,
  late: LateLoads,
): NonNullable<ManifestDraft['floors']> {
  const others = book.floors.filter((floor) => floor.topic !== topic);
  return [...others, { topic, snapshot, fileNode: late.fileOf(topic) }];
}

function nameOf(structure: { schema: string; table: string; topic: string }): {
  schema: string;
  table: string;
  topic: string;
} {
  return { schema: structure.schema, table: structure.table, topic: structure.topic };
}

function noteProgress(status: ServiceStatus, item: LoadItem): void {
  const { load } = status;
  switch (item.kind) {
    case 'plan':
      load.tables = item.tables.length;
      load.tablesDone = 0;
      load.chunks = item.tables.reduce((sum, { cut }) => sum + chunksIn(cut), 0);
      load.chunksDone = 0;
      status.state = 'loading';
      return;
    case 'chunk':
      load.chunksDone += item.last ? 1 : 0;
      load.rows += item.rows;
      status.events.snapshot += item.rows;
      return;
    case 'tableEnd':
      load.tablesDone += 1;
      return;
    case 'end':
      load.isDone = true;
      status.state = 'streaming';
  }
}
