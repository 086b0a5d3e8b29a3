import type { StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';
import type { TargetColumn, TargetTable } from '#adapters/postgres/target/target-table.ts';
import { imageKey, type Image, type RowChange } from '#core/change.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import { LSN_ZERO } from '#core/lsn.ts';
import { textsOf } from '#core/row-image.ts';
import { comparePositions } from '#core/position.ts';
import type { TableStructure } from '#core/structure.ts';
import { describeChange, refusalError } from '../../../services/sink/refusal.ts';
import type { TableChanges } from '../../../services/sink/segment-apply.ts';
import type {
  HeldLetters,
  LateLedger,
  LoadLedger,
  PositionLedger,
  RelayedLetters,
  RowStore,
  TargetSession,
} from '../../../services/sink/target.ts';
import { spreadOf } from './memory-spread.ts';
import { ServerError, type Connection } from './memory-target.ts';
import { rowsOf, type KeptLetter, type StoredRow, type TargetStore } from './target-store.ts';

/** True for a row that the target does not take, as by a constraint that somebody added. */
export type Refuses = (row: Image) => boolean;

const REFUSED = '23514';

/** A sink's session with a target in memory (services/sink/target.ts). */
export function memorySession(connection: Connection, token: string, refuses: Refuses): TargetSession {
  const position = positionOf(connection, token);
  const rows = storeOf(connection, refuses);
  const begin = async (lock: 'UPDATE' | 'SHARE'): Promise<void> => {
    await connection.begin(lock);
    if (!(await connection.read('guard', (store) => store.checkpoint !== null && store.token === token)))
      throw new RestageError('lease_lost', 'another sink took this target over');
  };
  return {
    transaction: {
      begin,
      commit: () => connection.commit(),
      rollback: () => connection.rollback(),
      attempt: (work) => connection.attempt(work),
      settle: () => connection.read('settle', () => undefined),
    },
    applyAtOnce: async (tables, to) => {
      await begin('UPDATE');
      try {
        await rows.apply(tables, 'target_drift', null);
        await position.moveTo(to);
        return true;
      } catch (error) {
        await connection.rollback();
        if (error instanceof RestageError) return false;
        throw error;
      }
    },
    takeover: {
      actAsReplica: () => connection.read('replica', () => true),
      endStale: () => connection.read('stale', () => connection.endOthers()),
      prepareState: () => connection.read('state', () => undefined),
      prepareLetters: () => connection.read('letters', () => undefined),
    },
    position,
    loads: loadsOf(connection),
    late: lateOf(connection),
    spread: spreadOf(connection, token),
    rows,
    shadows: {
      make: ({ topic }) => connection.change('shadow', (store) => void store.shadows.set(topic, [])),
      // The first is as a partition whose kin are not among them.
      exchange: async (shapes) => {
        const waiting = shapes.slice(0, 1);
        await connection.change('exchange', (store) => {
          for (const { to } of waiting) store.tables.set(to.topic, new Map());
          for (const { to } of shapes.slice(1)) takeShadow(store, to);
        });
        return waiting;
      },
      fill: ({ to }) => connection.change('fill', (store) => takeShadow(store, to)),
      drop: (topic) => connection.change('drop', (store) => void store.shadows.delete(topic)),
    },
    catalog: {
      table: (structure) => Promise.resolve(tableOf(structure)),
      require: () => Promise.resolve(),
      links: () => Promise.resolve([]),
      split: (structures) =>
        Promise.resolve(structures.filter(({ table }) => table !== 'whole').map(({ topic }) => topic)),
      add: () => Promise.resolve(),
    },
    origin: {
      takeAway: () => Promise.resolve(),
      ranks: () => Promise.resolve(new Map()),
      isOver: () => Promise.resolve(false),
    },
    letters: lettersOf(connection),
    end: () => {
      connection.close();
      return Promise.resolve();
    },
  };
}

function takeShadow(store: TargetStore, { topic, identity }: TableStructure): void {
  const rows = (store.shadows.get(topic) ?? []).map((row) => [imageKey(row, identity.columns), row] as const);
  store.tables.set(topic, new Map(rows));
}

function positionOf(connection: Connection, token: string): PositionLedger {
  return {
    open: () =>
      connection.take((store) => {
        if (store.checkpoint !== null) store.token = token;
        return store.checkpoint;
      }),
    require: (known) =>
      connection.read('require', (store) => {
        if (known === null && store.loads.size > 0) throw new RestageError('state_damaged', 'rows without a position');
      }),
    begin: (incarnation, planOffset, through) =>
      connection.change('begin', (store) => {
        if (store.checkpoint !== null) throw new ServerError('23505');
        store.token = token;
        store.checkpoint = { incarnation, pass: 1, planOffset, nextOffset: planOffset, through, isLoadDone: false };
      }),
    moveTo: ({ through, nextOffset }) =>
      connection.change('move', (store) => {
        if (store.checkpoint !== null) store.checkpoint = { ...store.checkpoint, through, nextOffset };
      }),
    enter: (stage) =>
      connection.take((store) => {
        if (store.checkpoint === null || store.token !== token)
          throw new RestageError('lease_lost', 'another sink took this target over');
        store.checkpoint =
          stage === 'loadDone'
            ? { ...store.checkpoint, isLoadDone: true }
            : { ...store.checkpoint, pass: 2, nextOffset: stage.stream };
      }),
  };
}

function forgetChunks(store: TargetStore, topic: string): void {
  for (const id of store.ledger.keys()) if (id.startsWith(`${topic}/`)) store.ledger.delete(id);
}

function loadsOf(connection: Connection): LoadLedger {
  return {
    tables: () => connection.read('loads', (store) => new Map(store.loads)),
    plan: (topics, load) =>
      connection.change('plan', (store) => {
        for (const topic of topics) {
          forgetChunks(store, topic);
          store.loads.set(topic, { load, snapshot: null });
        }
      }),
    end: (topics, snapshot) =>
      connection.change('tableEnd', (store) => {
        for (const topic of topics) store.loads.set(topic, { load: store.loads.get(topic)?.load ?? 0, snapshot });
      }),
    noteChunk: ({ topic, load, chunk, part, rows }) =>
      connection.change('chunk', (store) => {
        const id = `${topic}/${load}/${chunk}/${part}`;
        if (store.ledger.has(id)) return false;
        store.ledger.set(id, rows);
        return true;
      }),
    noteRetake: () => Promise.resolve(),
  };
}

function lateOf(connection: Connection): LateLedger {
  return {
    read: () =>
      connection.read('late', ({ late, lateTables }) =>
        late === null ? null : { ...late, tables: new Map(lateTables) },
      ),
    mark: (step, announced) =>
      connection.change('mark', (store) => {
        const begun = store.late ?? { begun: announced, loading: announced, loaded: null };
        store.late = step === 'loading' ? { ...begun, loading: announced } : { ...begun, loaded: announced };
        if (step === 'loading' && store.checkpoint !== null)
          store.checkpoint = { ...store.checkpoint, isLoadDone: false };
      }),
    plan: (topic, load, version) =>
      connection.change('latePlan', (store) => {
        forgetChunks(store, topic);
        store.lateTables.set(topic, { load, version, snapshot: null });
      }),
    end: (topic, snapshot) =>
      connection.change('lateEnd', (store) => {
        const known = store.lateTables.get(topic);
        if (known !== undefined) store.lateTables.set(topic, { ...known, snapshot });
      }),
    finish: () =>
      connection.change('finish', (store) => {
        for (const [topic, { load, snapshot }] of store.lateTables)
          if (snapshot !== null) store.loads.set(topic, { load, snapshot });
        store.lateTables.clear();
        store.late = null;
      }),
  };
}

export function storeOf(connection: Connection, refuses: Refuses): RowStore {
  return {
    async copy({ kind, structure }, columns, batches) {
      const rows: StoredRow[] = [];
      for await (const batch of batches)
        for (const values of batch) {
          const cells = textsOf(values);
          rows.push(new Map(columns.map((name, index) => [name, cells[index] ?? null])));
        }
      return connection.change('copy', (store) => {
        const shadow = store.shadows.get(structure.topic) ?? [];
        if (kind === 'shadow') store.shadows.set(structure.topic, [...shadow, ...rows]);
        else for (const row of rows) insert(store, structure, row);
        return rows.length;
      });
    },
    empty: (table) => connection.change('empty', (store) => void store.tables.delete(topicOf(store, table))),
    apply: async (tables, mismatch) => {
      for (const { table, change } of inOrder(tables))
        await connection.change('apply', (store) => applyChange(store, table, change, mismatch, refuses));
    },
    truncate: ({ tables }) =>
      connection.change('truncate', (store) => {
        for (const { structure } of tables) rowsOf(store, structure.topic).clear();
      }),
    alter: () => Promise.reject(new Error('no structure changes here')),
  };
}

function topicOf(store: TargetStore, { table }: { readonly table: string }): string {
  return [...store.tables.keys()].find((topic) => topic.endsWith(`.${table}`)) ?? '';
}

function inOrder(tables: readonly TableChanges[]): { table: TargetTable; change: RowChange }[] {
  return tables
    .flatMap(({ table, changes }) => changes.map((change) => ({ table, change })))
    .toSorted((a, b) => comparePositions(a.change.position, b.change.position));
}

function insert(store: TargetStore, { topic, identity }: TableStructure, row: StoredRow): void {
  const rows = rowsOf(store, topic);
  const key = imageKey(row, identity.columns);
  if (rows.has(key)) throw new ServerError('23505');
  rows.set(key, row);
}

/** As one statement does; what it says it did must be what was expected of it. */
function applyChange(
  store: TargetStore,
  table: TargetTable,
  change: RowChange,
  mismatch: ErrorCode,
  refuses: Refuses,
): void {
  const { structure } = table;
  const where = describeChange(table, change);
  if (change.kind !== 'delete' && store.checkpoint?.isLoadDone === true && refuses(change.after))
    throw refusalError(new ServerError(REFUSED), where, change);
  if (change.kind === 'insert') return insert(store, structure, change.after);
  const rows = rowsOf(store, structure.topic);
  const key = imageKey(change.key, structure.identity.columns);
  const old = rows.get(key);
  if (old === undefined) throw new RestageError(mismatch, 'a row is not there', { where });
  rows.delete(key);
  if (change.kind === 'update') insert(store, structure, new Map([...old, ...change.after]));
}

export function tableOf(structure: TableStructure): TargetTable {
  const columns = structure.columns.map(({ name, type }): readonly [string, TargetColumn] => [
    name,
    { name, cast: type, isCastOtherwise: false, equals: '=', isAlwaysIdentity: false },
  ]);
  return {
    structure,
    sql: structure.table,
    only: structure.table,
    isPartitioned: false,
    columns: new Map(columns),
    identity: structure.identity.columns,
    hasAlwaysIdentity: false,
    isTextEqual: true,
    isFoldable: true,
    isWatched: false,
  };
}

function lettersOf(connection: Connection): HeldLetters & RelayedLetters {
  const waiting = (store: TargetStore): KeptLetter[] =>
    [...store.letters.values()].filter(({ letter }) => letter.state === 'waiting');
  return {
    add: (letter, slots) =>
      connection.change('letter', (store) => {
        if (store.letters.has(letter.id)) return;
        const stored: StoredDeadLetter = { ...letter, state: 'waiting', madeAt: new Date(0) };
        store.letters.set(letter.id, { letter: stored, slots, isRelayed: false });
      }),
    isAnyHeld: () => connection.read('held', (store) => waiting(store).length > 0),
    findHeld: (slots) =>
      connection.read('held', (store) => {
        const newest = waiting(store).toSorted((a, b) => compareLetters(a.letter, b.letter));
        return new Map(
          slots.flatMap((slot): [string, string][] => {
            const holder = newest.findLast((kept) => kept.slots.includes(slot));
            return holder === undefined ? [] : [[slot, holder.letter.id]];
          }),
        );
      }),
    supersede: (topic, snapshot) =>
      connection.change('supersede', (store) => {
        for (const kept of waiting(store)) {
          const { letter } = kept;
          if (letter.topic === topic && (snapshot === null || (letter.position?.commit ?? LSN_ZERO) < snapshot))
            store.letters.set(letter.id, { ...kept, letter: { ...letter, state: 'dropped' } });
        }
      }),
    counts: () =>
      connection.read('counts', (store) => ({ waiting: waiting(store).length, heldKeys: waiting(store).length })),
    unrelayed: () =>
      connection.read('unrelayed', (store) =>
        [...store.letters.values()]
          .filter(({ isRelayed }) => !isRelayed)
          .map(({ letter }) => ({ id: letter.id, commit: '', behind: letter.behind, bytes: 0 })),
      ),
    read: (ids) => connection.read('read', (store) => ids.flatMap((id) => store.letters.get(id)?.letter ?? [])),
    markRelayed: (ids) =>
      connection.change('relayed', (store) => {
        for (const id of ids) {
          const kept = store.letters.get(id);
          if (kept !== undefined) store.letters.set(id, { ...kept, isRelayed: true });
        }
      }),
  };
}

function compareLetters(a: StoredDeadLetter, b: StoredDeadLetter): number {
  return a.position === null || b.position === null ? 0 : comparePositions(a.position, b.position);
}
