import { pino } from 'pino';
import type { ReplicationFrame } from '#adapters/postgres/source/replication-stream.ts';
import type { SnapshotGate, SnapshotRequest } from '#core/control.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import { BoundedQueue } from '#core/bounded-queue.ts';
import { EventEncoder } from '#core/event-encoder.ts';
import { formatLsn, lsnOf, maxLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import { Notifier } from '#core/notifier.ts';
import { newStatus } from '#core/status.ts';
import { structureRecord } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey } from '#core/table-name.ts';
import { keyPartitioner } from '#core/partitioner.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { requireOwnSlot } from '../../../services/producer/birth.ts';
import { capture } from '../../../services/producer/capture.ts';
import type { CapturedTable } from '../../../services/producer/captured-table.ts';
import { ChangeAssembler } from '../../../services/producer/change-assembler.ts';
import { findAnnounced } from '../../../services/producer/find-announced.ts';
import { LabelWatch } from '../../../services/producer/label-watch.ts';
import type { LoadItem } from '../../../services/producer/load-item.ts';
import { LateLoads } from '../../../services/producer/late-loads.ts';
import { ManifestBook } from '../../../services/producer/manifest-book.ts';
import { Publisher } from '../../../services/producer/publisher.ts';
import { Rewrites, type RewriteMark } from '../../../services/producer/rewrites.ts';
import { serveLateLoads } from '../../../services/producer/serve-late-loads.ts';
import { StreamEpochs, type StreamPart } from '../../../services/producer/stream-epochs.ts';
import { findUnfinished, type UnfinishedLoad } from '../../../services/producer/unfinished-load.ts';
import { WrittenStructures } from '../../../services/producer/written-structures.ts';
import { Death, type MemoryKafka } from './memory-kafka.ts';
import { FIRST_LSN, RELATIONS, type MemoryWal } from './memory-wal.ts';
import { tick, type Choices, type Schedule } from './choices.ts';
import { loadSnapshot } from './snapshot-load.ts';
import { RAW, TABLES } from './tables.ts';

export interface LateRequest extends SnapshotRequest {
  readonly after: number;
}

/** What outlives a producer: the source with its slot, and Kafka. */
export interface SimulatedSource {
  readonly wal: MemoryWal;
  readonly kafka: MemoryKafka;
  /** How many transactions have committed so far. */
  committed: number;
  /** null: there is none. */
  slot: Lsn | null;
  /** To load tables again; each is asked for once so many transactions have committed. */
  requests: readonly LateRequest[];
}

const LIMITS = { bytes: 800, lingerMs: 6, partBytes: 1_200 };
const FRAMES_AT_ONCE = 4;

/** One life: true when it came to the end of the WAL with the load done and drained, false when it died. */
export async function producerLife(source: SimulatedSource, schedule: Schedule): Promise<boolean> {
  try {
    await new ProducerLife(source, schedule).run();
    return true;
  } catch (error) {
    if (error instanceof Death) return false;
    throw error;
  }
}

interface LoadTools {
  readonly book: ManifestBook;
  readonly written: WrittenStructures;
  readonly queue: BoundedQueue<LoadItem>;
  readonly late: LateLoads;
}

interface LoadStart {
  readonly unfinished: UnfinishedLoad;
  readonly isBorn: boolean;
  /** An earlier life announced a load and did not end it. */
  readonly isLate: boolean;
}

class ProducerLife {
  readonly #source: SimulatedSource;
  readonly #fates: Choices;
  readonly #pace: Choices;
  readonly #status = newStatus('producer', '');
  readonly #ended = new AbortController();
  #late: LateLoads | null = null;
  #now = 1_000;

  constructor(source: SimulatedSource, schedule: Schedule) {
    this.#source = source;
    this.#fates = schedule.fates;
    this.#pace = schedule.pace;
  }

  async run(): Promise<void> {
    const { kafka } = this.#source;
    const writer = kafka.writer(RAW, this.#fates, ({ manifest }) => this.#requireSlotBehind(manifest.through));
    const book = new ManifestBook(
      { incarnation: 'life', systemId: '1', timeline: 1, partitions: kafka.partitions },
      await writer.last(),
    );
    requireOwnSlot('sim', this.#slotState(), book.last);
    const isBorn = await this.#bear(book, writer);
    const written = new WrittenStructures(kafka.values(schemasTopic(RAW)));
    const reader = kafka.reader(RAW, () => undefined);
    const announced = await findAnnounced(reader, book);
    const chosen = announced === null ? TABLES : TABLES.filter((table) => announced.tables.has(tableKey(table)));
    const unfinished = await findUnfinished(reader, book, chosen, (topic) => written.newestOf(topic));
    const epochs = new StreamEpochs(book.resume(), keyPartitioner(kafka.partitions));
    const notifier = new Notifier();
    const parts = new BoundedQueue<StreamPart | RewriteMark>(2, () => notifier.notify());
    const load = new BoundedQueue<LoadItem>(4, () => notifier.notify());
    const tables = new Map(RELATIONS.map((relation, index) => [relation as number, captured(index)]));
    const relations = {
      get: (relation: number) => tables.get(relation) ?? null,
      truncated: (truncated: readonly number[]) => truncated.flatMap((relation) => tables.get(relation) ?? []),
    };
    const clock = (): number => (this.#now += 1 + this.#pace.of(3));
    const assembler = new ChangeAssembler({
      book: relations,
      epochs,
      schemasTopic: schemasTopic(RAW),
      written,
      recentXid: 400n,
      status: this.#status,
      clock,
      debezium: null,
    });
    const late = new LateLoads(
      () => notifier.notify(),
      () => book.floors,
    );
    this.#late = late;
    const publisher = new Publisher({
      writer,
      book,
      epochs,
      parts,
      load,
      late,
      notifier,
      limits: LIMITS,
      heartbeatMs: 12,
      confirm: (through) => this.#confirm(book, through),
      status: this.#status,
      clock,
      debezium: null,
    });
    this.#status.load.isDone = book.last?.loaded === true;
    const { signal } = this.#ended;
    const from = maxLsn(book.through, this.#source.slot ?? FIRST_LSN);
    const tasks = [
      capture(
        {
          stream: { frames: () => this.#frames(from, notifier, book) },
          book: {
            get: () => null,
            learn: () => Promise.resolve(),
            hasNewLabel: () => false,
            isDue: () => false,
            learnAgain: () => Promise.resolve(),
            learnDue: () => Promise.resolve([]),
            learnTold: () => Promise.resolve([]),
            noteFilled: () => undefined,
            requireNotRewritten: () => Promise.resolve(),
            requireFollowed: () => Promise.resolve(),
            requireTold: () => Promise.resolve(),
          },
          commits: { wait: () => Promise.resolve(true) },
          assembler,
          epochs,
          parts,
          rewrites: new Rewrites(''),
          late,
          onRewrite: 'stop',
          notifier,
          limits: LIMITS,
          gate: { isPaused: false, whenRunning: () => Promise.resolve() },
        },
        signal,
      ),
      this.#loads({ book, written, queue: load, late }, { unfinished, isBorn, isLate: announced !== null }),
      publisher.run(signal),
    ];
    await this.#together(tasks, [parts, load]);
  }

  /** Birth: intent → slot → origin, each of which may be the last thing done. */
  async #bear(book: ManifestBook, writer: ReturnType<MemoryKafka['writer']>): Promise<boolean> {
    const source = this.#source;
    const kind = book.last?.kind;
    if (kind !== undefined && kind !== 'intent') return false;
    if (kind === undefined)
      book.note(
        await writer.write(book.draft('intent', { through: formatLsn(source.wal.endOf(source.committed)) }), []),
      );
    this.#commitMore(2);
    source.slot = source.wal.endOf(source.committed);
    if (this.#fates.of(8) === 1) throw new Death('between slot and origin');
    const point = formatLsn(source.slot);
    book.note(await writer.write(book.draft('origin', { through: point, snapshot: point }), []));
    return true;
  }

  /** The first one, or what is left of it; then those that are asked for, until the end. */
  async #loads(tools: LoadTools, { unfinished, isBorn, isLate }: LoadStart): Promise<void> {
    const { book, late } = tools;
    const first = isBorn ? this.#source.slot : null;
    if (!isLate && !this.#status.load.isDone) await this.#load(tools, unfinished, first);
    await serveLateLoads(
      {
        late,
        manifests: book,
        requests: this.#requests,
        choose: () => Promise.resolve(TABLES),
        changed: () => new Map(),
        newTables: { find: () => Promise.resolve([]) },
        schemasTopic: schemasTopic(RAW),
        goOn: isLate ? () => this.#load(tools, unfinished, null) : null,
        load: (fresh) => this.#load(tools, { fresh, begun: null }, null),
        failpoints: NO_FAILPOINTS,
        logger: pino({ level: 'silent' }),
      },
      this.#ended.signal,
    );
  }

  get #requests(): SnapshotGate {
    const source = this.#source;
    return {
      get requests() {
        return source.requests.filter(({ after }) => source.committed >= after);
      },
      clear(id) {
        source.requests = source.requests.filter((request) => request.id !== id);
        return Promise.resolve();
      },
    };
  }

  async #load({ book, written, queue }: LoadTools, unfinished: UnfinishedLoad, first: Lsn | null): Promise<void> {
    // Sessions are opened first: the stream may be there before the plan.
    for (let left = this.#pace.of(4); left > 0; left -= 1) await tick();
    const { wal } = this.#source;
    const takeSnapshot = (): Lsn => {
      this.#commitMore(2);
      return wal.endOf(this.#source.committed);
    };
    const tableOf = (structure: TableStructure): CapturedTable => captured(TABLES.indexOf(structure));
    const options = {
      wal,
      partitionOf: keyPartitioner(this.#source.kafka.partitions),
      written,
      queue,
      pace: this.#pace,
      schemasTopic: schemasTopic(RAW),
      takeSnapshot,
      capture: tableOf,
    };
    const isKept = this.#fates.of(3) !== 1;
    const begun = isKept ? unfinished.begun : null;
    const lost = isKept ? [] : (unfinished.begun?.tables.map(({ structure }) => structure) ?? []);
    const fresh = [...unfinished.fresh, ...lost].map(tableOf);
    await loadSnapshot(options, { begun, fresh }, book.load, first);
  }

  async *#frames(from: Lsn, notifier: Notifier, book: ManifestBook): AsyncGenerator<ReplicationFrame[]> {
    const { wal } = this.#source;
    for (const [index, { commit, frames }] of wal.transactions.entries()) {
      this.#source.committed = Math.max(this.#source.committed, index + 1);
      if (commit < from) continue;
      for (let at = 0; at < frames.length;) {
        const count = 1 + this.#pace.of(FRAMES_AT_ONCE);
        yield frames.slice(at, at + count);
        at += count;
        if (this.#pace.of(2) === 1) await tick();
        if (this.#ended.signal.aborted) return;
      }
      if (this.#pace.of(4) === 1) yield [{ kind: 'keepalive', walEnd: lsnOf(wal.endOf(index + 1) + 5n) }];
    }
    const end = wal.endOf(wal.transactions.length);
    const isWaiting = (): boolean =>
      !this.#status.load.isDone || this.#requests.requests.length > 0 || book.through < end;
    while (isWaiting() && !this.#ended.signal.aborted) {
      // An idle server says how far it is.
      if (this.#status.load.isDone) yield [{ kind: 'keepalive', walEnd: lsnOf(end + 5n) }];
      notifier.notify();
      this.#late?.changed.notify();
      await tick();
    }
    this.#ended.abort();
  }

  #commitMore(most: number): void {
    const { wal } = this.#source;
    this.#source.committed = Math.min(wal.transactions.length, this.#source.committed + this.#pace.of(most));
  }

  /** The server may hear of it, or the life may end first. */
  #confirm(book: ManifestBook, through: Lsn): void {
    if (through > book.through) throw new Error(`invariant 1: ${through} is confirmed, ${book.through} is in Kafka`);
    if (this.#pace.of(3) !== 1) this.#source.slot = maxLsn(this.#source.slot ?? FIRST_LSN, through);
  }

  #requireSlotBehind(through: string): void {
    if (this.#source.slot !== null && this.#source.slot > parseLsn(through))
      throw new Error(`invariant 1: the slot is at ${this.#source.slot}, the newest manifest at ${through}`);
  }

  #slotState(): Parameters<typeof requireOwnSlot>[1] {
    const confirmed = this.#source.slot;
    if (confirmed === null) return null;
    return {
      plugin: 'pgoutput',
      database: 'db',
      confirmed,
      activePid: null,
      isLost: false,
      lostFor: null,
      retainedBytes: 0,
    };
  }

  async #together(
    tasks: readonly Promise<void>[],
    queues: readonly Pick<BoundedQueue<unknown>, 'close'>[],
  ): Promise<void> {
    const errors: unknown[] = [];
    const guarded = tasks.map((task) =>
      task.catch((error: unknown) => {
        errors.push(error);
        this.#ended.abort();
        for (const queue of queues) queue.close(error);
      }),
    );
    await Promise.all(guarded);
    if (errors.length > 0) throw errors[0];
  }
}

/** A table as the relation's number makes it known. */
function captured(index: number): CapturedTable {
  const structure = TABLES[index] ?? TABLES[0];
  if (structure === undefined) throw new Error('there is no table');
  return {
    structure,
    record: structureRecord(structure),
    encoder: new EventEncoder(structure, structure.columns, RAW, 'db', '0'),
    debezium: null,
    source: {
      oid: RELATIONS[index] ?? 0,
      fileNode: '1',
      attributes: '1',
      numbers: new Map([
        ['id', 1],
        ['v', 2],
      ]),
    },
    changes: [],
    labels: new LabelWatch(structure.columns),
    mask: null,
    columnsOf: null,
  };
}
