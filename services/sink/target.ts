import type { Checkpoint, TableLoad } from '#adapters/postgres/target/target-state.ts';
import type { DeadLetterStore } from '#adapters/postgres/target/dead-letter-store.ts';
import type { LaneProgress, LanePosition, Spread } from '#adapters/postgres/target/spread-state.ts';
import type { LateProgress } from '#adapters/postgres/target/late-state.ts';
import type { Reshaping } from '#adapters/postgres/target/reshape-table.ts';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { ErrorCode } from '#core/errors.ts';
import type { KeyLink } from '#core/key-slots.ts';
import type { Lsn } from '#core/lsn.ts';
import type { ColumnChange, ColumnsOf } from '#core/structure-change.ts';
import type { RowValues } from '#core/row-image.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TableName } from '#core/table-name.ts';
import type { LateTable } from '#core/target-schema.ts';
import type { Truncated } from './epoch-apply.ts';
import type { TableChanges, TableRanks } from './segment-apply.ts';

/**
 * What a sink asks of its target. All that decides which event is applied when, and where the position moves, is written against these
 * contracts: sink-attempt.ts, the two passes, the late load, the quarantine. `postgres-target.ts` keeps them with PostgreSQL; the seeded
 * simulation keeps them in memory (test/harness/simulation/memory-target.ts), and so runs the functions of production through lost answers
 * and deaths at every step.
 *
 * A target is reached through sessions. What a session does between `begin` and `commit` is seen by nobody else until the commit, and then
 * all at once (invariants 2 and 4); where the answer to a commit is lost, it has happened or not, and the next life reads which. `begin`
 * locks the position and holds that this sink may still move it, so a sink that was replaced while it hung writes nothing.
 */
export interface TargetSessions {
  open(): Promise<TargetSession>;
  /** Labels of enums that an alteration brings, in a session of its own (PostgreSQL: "ALTER TYPE", Notes). */
  addLabels(table: TableStructure, changes: readonly ColumnChange[]): Promise<void>;
}

/** One session, by what is done in it. Any method may fail with the target's own error; then the session is of no more use. */
export interface TargetSession {
  readonly transaction: TargetTransaction;
  /**
   * The whole of an epoch, or of several together, without a wait in between: begins with the position locked, applies changes between
   * which nothing stands, settles what was put off and moves the position; the commit is left to the caller. False where it is to be
   * done step by step instead. Then, and where it throws, nothing is begun.
   */
  readonly applyAtOnce: (tables: readonly TableChanges[], position: StreamPosition) => Promise<boolean>;
  readonly takeover: TakeoverTools;
  readonly position: PositionLedger;
  readonly loads: LoadLedger;
  readonly late: LateLedger;
  readonly spread: SpreadLedger;
  readonly rows: RowStore;
  readonly shadows: ShadowTables;
  readonly catalog: TargetCatalog;
  readonly origin: OriginTools;
  readonly letters: HeldLetters & RelayedLetters;
  /** Never fails. What was not committed is undone. */
  readonly end: () => Promise<void>;
}

export interface TargetTransaction {
  /**
   * Begins one and locks the position: `UPDATE` alone, `SHARE` beside others that share it. `deferred`: constraints that may wait do.
   * @throws RestageError lease_lost.
   */
  begin(lock: 'UPDATE' | 'SHARE', constraints?: 'deferred'): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  /** What `work` did is undone where it fails, and what was done before it stays. @throws what `work` threw. */
  attempt(work: () => Promise<void>): Promise<void>;
  /** Checks what was put off, and puts off what comes after it again. @throws the target's refusal. */
  settle(): Promise<void>;
}

/** Once an attempt, before anything else. */
export interface TakeoverTools {
  /** False where the role may not have a replica's session. */
  actAsReplica(): Promise<boolean>;
  /** Sessions that a holder before this one left are ended, with what they had not committed. Returns how many. */
  endStale(): Promise<number>;
  /** Makes the tables of the state where they are missing. */
  prepareState(): Promise<void>;
  prepareLetters(): Promise<void>;
}

export interface PositionLedger {
  /** Takes the position over for this sink; null where there is none. @throws RestageError state_newer. */
  open(): Promise<Checkpoint | null>;
  /**
   * Holds that no switch gave the target to its application, and that what explains the position is there, and nothing where there is none.
   * @throws RestageError lease_lost, state_damaged.
   */
  require(known: Checkpoint | null): Promise<void>;
  begin(incarnation: string, planOffset: bigint, through: Lsn): Promise<void>;
  /** In the transaction of the data that it covers (invariant 2). */
  moveTo(position: StreamPosition): Promise<void>;
  /** `stream`: the second pass begins at this offset; `loadDone`: a reader of the target may look. @throws RestageError lease_lost. */
  enter(stage: { readonly stream: bigint } | 'loadDone'): Promise<void>;
}

export interface StreamPosition {
  readonly epoch: number;
  readonly commit: Lsn | null;
  readonly through: Lsn;
  readonly nextOffset: bigint;
}

/** What is loaded of each topic, and which parts of chunks are applied. */
export interface LoadLedger {
  tables(): Promise<Map<string, TableLoad>>;
  /** What an earlier load noted of the tables is forgotten. */
  plan(topics: readonly string[], load: number): Promise<void>;
  end(topics: readonly string[], snapshot: Lsn): Promise<void>;
  /** False when this part is applied already. */
  noteChunk(part: ChunkPart): Promise<boolean>;
  /** Says for people that tables were emptied to be loaded again. */
  noteRetake(load: number, topics: readonly string[]): Promise<void>;
}

export interface ChunkPart {
  readonly topic: string;
  readonly load: number;
  readonly chunk: number;
  readonly part: number;
  readonly rows: number;
}

/** The same of a load that was announced while the stream went on, until its rows are exchanged. */
export interface LateLedger {
  /** null where none is open. */
  read(): Promise<LateProgress | null>;
  /** `loading`: this announcement's rows are taken from now on, and the load is not done; `loaded`: they are all in shadow tables. */
  mark(step: 'loading' | 'loaded', announced: bigint): Promise<void>;
  plan(topic: string, load: number, version: number): Promise<void>;
  end(topic: string, snapshot: Lsn): Promise<void>;
  /** Its tables are as any other from here on. */
  finish(): Promise<void>;
}

/**
 * Lanes that apply side by side (lane-target.ts), for whoever may move the position: each method in a transaction that holds it alone, which
 * keeps every lane out, but for `progress`.
 */
export interface SpreadLedger {
  /** What an earlier holder opened is this one's from here on; null for nothing. @throws RestageError state_damaged. */
  adopt(): Promise<Spread | null>;
  open(spread: Spread, from: LanePosition): Promise<void>;
  /** In the order of the lanes, which only go on while their leader holds the target: whoever looks would wait for ever. @throws RestageError lease_lost. */
  progress(): Promise<LaneProgress[]>;
  /** Every lane stops at this offset; none of them is past it. */
  converge(until: bigint): Promise<void>;
  close(): Promise<void>;
}

/** Where a load's rows go. */
export interface RowPlace {
  readonly kind: 'table' | 'shadow';
  readonly structure: TableStructure;
}

export interface RowStore {
  /** In bulk, in the order of `columns`; returns how many there were. */
  copy(place: RowPlace, columns: readonly string[], rows: AsyncIterable<readonly RowValues[]>): Promise<number>;
  /** Removes every row, by the quickest means that the target allows. */
  empty(table: TableName): Promise<void>;
  /** Changes between which nothing stands. @throws as applySegment. */
  apply(tables: readonly TableChanges[], mismatch: ErrorCode, ranks: TableRanks | null): Promise<void>;
  /** @throws RestageError target_constraint. */
  truncate(truncated: Truncated, ranks: TableRanks | null): Promise<void>;
  /** @throws RestageError ddl_unsupported. `where`: the place in the stream, for messages. */
  alter(
    to: TableStructure,
    changes: readonly ColumnChange[],
    where: string,
    columnsOf: ColumnsOf | null,
  ): Promise<void>;
}

/** Tables beside the target's own, one a topic. */
export interface ShadowTables {
  /** An empty one, in the place of what is there. */
  make(structure: TableStructure): Promise<void>;
  /**
   * The tables' rows for their shadows'. Returns those that are only emptied: their columns change with others', which the stream between
   * here and their snapshots may alter; there they are to be filled.
   */
  exchange(shapes: readonly Reshaping[]): Promise<readonly Reshaping[]>;
  /** With its shadow's rows. @throws RestageError ddl_unsupported. */
  fill(shape: Reshaping): Promise<void>;
  drop(topic: string): Promise<void>;
}

export interface TargetCatalog {
  /** @throws RestageError target_altered where the target's table does not fit. */
  table(structure: TableStructure): Promise<TargetTable>;
  /** @throws as `table`, for any of them. */
  require(structures: readonly TableStructure[]): Promise<void>;
  /** Foreign keys between these tables. */
  links(tables: readonly TableName[]): Promise<KeyLink[]>;
  /** Topics of tables whose rows lanes may apply side by side. */
  split(structures: readonly TableStructure[]): Promise<string[]>;
  /** Tables that came at the source after the load. @throws RestageError schema_missing, schema_differs or target_not_empty. */
  add(tables: readonly LateTable[], mayMake: boolean): Promise<void>;
}

/** For a role that may not set session_replication_role. */
export interface OriginTools {
  /** Triggers and foreign keys that would repeat what the stream brings are taken away; in the caller's transaction. */
  takeAway(tables: readonly TableName[], isLoadDone: boolean): Promise<void>;
  ranks(tables: readonly TableName[]): Promise<TableRanks>;
  /** The operator gave the target to its application. */
  isOver(): Promise<boolean>;
}

export type HeldLetters = Pick<DeadLetterStore, 'add' | 'isAnyHeld' | 'findHeld' | 'supersede' | 'counts'>;

export type RelayedLetters = Pick<DeadLetterStore, 'unrelayed' | 'read' | 'markRelayed'>;
