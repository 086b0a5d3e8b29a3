import type pg from 'pg';
import { addTables } from '#adapters/postgres/target/add-tables.ts';
import { addEnumLabels, alterTable } from '#adapters/postgres/target/alter-table.ts';
import { actAsReplica, endStaleSessions } from '#adapters/postgres/target/apply-session.ts';
import { copyRows } from '#adapters/postgres/target/copy-rows.ts';
import { DeadLetterStore, prepareDeadLetters } from '#adapters/postgres/target/dead-letter-store.ts';
import { emptyTable } from '#adapters/postgres/target/empty-table.ts';
import { readTableRanks } from '#adapters/postgres/target/foreign-keys.ts';
import { readKeyLinks } from '#adapters/postgres/target/key-links.ts';
import { LateState } from '#adapters/postgres/target/late-state.ts';
import { isFinishStarted } from '#adapters/postgres/target/schema-finish.ts';
import {
  dropShadow,
  exchangeShadows,
  fillTable,
  makeShadow,
  shadowOf,
} from '#adapters/postgres/target/shadow-table.ts';
import { readSplitTopics } from '#adapters/postgres/target/split-tables.ts';
import { readProgress, SpreadState } from '#adapters/postgres/target/spread-state.ts';
import { takeAway } from '#adapters/postgres/target/take-away.ts';
import type { TargetState } from '#adapters/postgres/target/target-state.ts';
import { readTargetTable, requireTargetTables } from '#adapters/postgres/target/target-table.ts';
import { quoteTable } from '#core/table-name.ts';
import { applyAtOnce } from './at-once.ts';
import { applySegment } from './segment-apply.ts';
import type {
  LateLedger,
  LoadLedger,
  PositionLedger,
  RowStore,
  SpreadLedger,
  TargetCatalog,
  TargetSession,
  TargetSessions,
  TargetTransaction,
} from './target.ts';
import { truncateTables } from './truncate-tables.ts';

/** A target in PostgreSQL, for one holder of its lease, whose position `state` is. `connect`: one more connection of the apply's role. */
export function postgresTarget(
  pipeline: string,
  connect: () => Promise<pg.Client>,
  state: TargetState,
): TargetSessions {
  return {
    open: async () => sessionOf(await connect(), pipeline, state),
    async addLabels(table, changes) {
      if (!changes.some(({ kind }) => kind === 'retype')) return;
      const client = await connect();
      try {
        await addEnumLabels(client, table, changes);
      } finally {
        await client.end().catch(() => undefined);
      }
    },
  };
}

function sessionOf(client: pg.Client, pipeline: string, state: TargetState): TargetSession {
  return {
    transaction: transactionOf(client, state),
    applyAtOnce: (tables, position) => applyAtOnce(client, state, tables, position),
    takeover: {
      actAsReplica: () => actAsReplica(client),
      endStale: () => endStaleSessions(client),
      prepareState: () => state.prepare(client),
      prepareLetters: () => prepareDeadLetters(client),
    },
    position: positionOf(client, state),
    loads: loadsOf(client, state),
    late: lateOf(client, new LateState(pipeline)),
    spread: spreadOf(client, pipeline, state),
    rows: rowsOf(client, pipeline),
    shadows: {
      make: (structure) => makeShadow(client, pipeline, structure),
      exchange: (shapes) => exchangeShadows(client, pipeline, shapes),
      fill: (shape) => fillTable(client, pipeline, shape),
      drop: (topic) => dropShadow(client, pipeline, topic),
    },
    catalog: catalogOf(client),
    origin: {
      takeAway: (tables, isLoadDone) => takeAway(client, pipeline, tables, isLoadDone),
      ranks: (tables) => readTableRanks(client, tables),
      isOver: () => isFinishStarted(client, pipeline),
    },
    letters: new DeadLetterStore(client, pipeline),
    end: () => client.end().catch(() => undefined),
  };
}

function transactionOf(client: pg.ClientBase, state: TargetState): TargetTransaction {
  return {
    async begin(lock, constraints) {
      await client.query(constraints === 'deferred' ? 'BEGIN; SET CONSTRAINTS ALL DEFERRED' : 'BEGIN');
      try {
        await state.guard(client, lock);
      } catch (error) {
        await client.query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    },
    ...frameOf(client),
  };
}

/** The rest of a transaction that somebody else has begun. */
export function frameOf(client: pg.ClientBase): Omit<TargetTransaction, 'begin'> {
  return {
    commit: async () => void (await client.query('COMMIT')),
    rollback: async () => void (await client.query('ROLLBACK')),
    async attempt(work) {
      await client.query('SAVEPOINT attempt');
      try {
        await work();
      } catch (error) {
        // Of a connection that is lost nothing has to be undone, and its own error says more.
        await client.query('ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt').catch(() => undefined);
        throw error;
      }
      await client.query('RELEASE SAVEPOINT attempt');
    },
    settle: async () => void (await client.query('SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED')),
  };
}

function positionOf(client: pg.ClientBase, state: TargetState): PositionLedger {
  return {
    open: () => state.open(client),
    async require(known) {
      await state.requireGate(client);
      await (known === null ? state.requireUnbegun(client) : state.requireWhole(client, known));
    },
    begin: (incarnation, planOffset, through) => state.begin(client, incarnation, planOffset, through),
    moveTo: (position) => state.moveTo(client, position),
    enter: (stage) => (stage === 'loadDone' ? state.finishLoad(client) : state.startStream(client, stage.stream)),
  };
}

function loadsOf(client: pg.ClientBase, state: TargetState): LoadLedger {
  return {
    tables: () => state.tableLoads(client),
    plan: (topics, load) => state.planTables(client, topics, load),
    end: (topics, snapshot) => state.endTables(client, topics, snapshot),
    noteChunk: (part) => state.noteChunk(client, part),
    noteRetake: (load, topics) => state.noteRetake(client, load, topics),
  };
}

function lateOf(client: pg.ClientBase, late: LateState): LateLedger {
  return {
    read: () => late.read(client),
    mark: (step, announced) =>
      step === 'loading' ? late.begin(client, announced) : late.noteLoaded(client, announced),
    plan: (topic, load, version) => late.planTable(client, topic, load, version),
    end: (topic, snapshot) => late.endTable(client, topic, snapshot),
    finish: () => late.finish(client),
  };
}

function spreadOf(client: pg.ClientBase, pipeline: string, state: TargetState): SpreadLedger {
  const spreads = new SpreadState(pipeline);
  return {
    adopt: () => spreads.adopt(client),
    open: (spread, from) => spreads.open(client, spread, from),
    async progress() {
      const progress = await readProgress(client, pipeline);
      await state.requireHeld(client);
      return progress;
    },
    converge: (until) => spreads.converge(client, until),
    close: () => spreads.close(client),
  };
}

export function catalogOf(client: pg.ClientBase): TargetCatalog {
  return {
    table: (structure) => readTargetTable(client, structure),
    require: (structures) => requireTargetTables(client, structures),
    links: (tables) => readKeyLinks(client, tables),
    split: (structures) => readSplitTopics(client, structures),
    add: (tables, mayMake) => addTables(client, tables, mayMake),
  };
}

/** `pipeline` names the shadow tables. */
function rowsOf(client: pg.ClientBase, pipeline: string): RowStore {
  return {
    copy: ({ kind, structure }, columns, rows) =>
      copyRows(client, kind === 'table' ? quoteTable(structure) : shadowOf(pipeline, structure.topic), columns, rows),
    empty: (table) => emptyTable(client, table),
    ...changesOf(client),
  };
}

export function changesOf(client: pg.ClientBase): Pick<RowStore, 'apply' | 'truncate' | 'alter'> {
  return {
    apply: (tables, mismatch, ranks) => applySegment(client, tables, mismatch, ranks),
    truncate: (truncated, ranks) => truncateTables(client, truncated, ranks),
    alter: (to, changes, where, columnsOf) => alterTable(client, to, changes, where, columnsOf),
  };
}
