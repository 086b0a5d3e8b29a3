import type { ReplicationFrame } from '#adapters/postgres/source/replication-stream.ts';
import { lsnOf, type Lsn } from '#core/lsn.ts';
import { int32, int64 } from '../wire-numbers.ts';

/** One statement of a made-up transaction; `row` chooses among the rows that are there. */
export interface Statement {
  readonly kind: 'insert' | 'update' | 'rekey' | 'delete' | 'truncate' | 'barrier';
  readonly table: number;
  readonly row: number;
  readonly isBig: boolean;
}

/** Position, relation number and operation of one record that a topic must hold. */
export type WalEvent = `${bigint}:${number} ${number} ${string}`;

/** What one statement does to its table's rows: id → value. */
export interface RowEffect {
  readonly relation: number;
  readonly apply: (rows: Map<number, string>) => unknown;
}

interface Transaction {
  readonly commit: Lsn;
  readonly end: Lsn;
  readonly frames: readonly ReplicationFrame[];
  readonly events: readonly WalEvent[];
  readonly effects: readonly RowEffect[];
  /** Rows of each relation after it: id → value. */
  readonly rows: ReadonlyMap<number, ReadonlyMap<number, string>>;
}

export const RELATIONS = [16_401, 16_402] as const;
export const FIRST_LSN = lsnOf(1_000n);
const STEP = 1_000n;
const BIG = 'x'.repeat(900);

/** A source's WAL: pgoutput's own bytes, and what the tables hold after each transaction. */
export class MemoryWal {
  readonly transactions: readonly Transaction[];

  constructor(plan: readonly (readonly Statement[])[]) {
    const rows = new Map<number, Map<number, string>>(RELATIONS.map((relation) => [relation, new Map()]));
    this.transactions = plan.map((statements, index) => makeTransaction(index, statements, rows));
  }

  /** Where the WAL ends once so many transactions have committed. */
  endOf(committed: number): Lsn {
    return this.transactions[committed - 1]?.end ?? FIRST_LSN;
  }

  /** What a snapshot taken then sees. */
  rowsAt(lsn: Lsn, relation: number): ReadonlyMap<number, string> {
    const last = this.transactions.findLast(({ commit }) => commit < lsn);
    return last?.rows.get(relation) ?? new Map<number, string>();
  }

  /** The same, had these transactions never been. */
  rowsWithout(left: ReadonlySet<Lsn>, lsn: Lsn, relation: number): ReadonlyMap<number, string> {
    const rows = new Map<number, string>();
    for (const { commit, effects } of this.transactions) {
      if (commit >= lsn || left.has(commit)) continue;
      for (const effect of effects) if (effect.relation === relation) effect.apply(rows);
    }
    return rows;
  }

  /** Every event of transactions that commit in [from, to). */
  events(from: Lsn, to: Lsn): WalEvent[] {
    return this.transactions.filter(({ commit }) => commit >= from && commit < to).flatMap(({ events }) => events);
  }
}

function makeTransaction(
  index: number,
  statements: readonly Statement[],
  rows: Map<number, Map<number, string>>,
): Transaction {
  const commit = lsnOf(FIRST_LSN + STEP * BigInt(index) + 700n);
  const end = lsnOf(commit + 50n);
  const frames: Buffer[] = [Buffer.concat([text('B'), int64(commit), int64(0n), int32(500 + index)])];
  const events: WalEvent[] = [];
  const effects: RowEffect[] = [];
  let ordinal = 0;
  for (const statement of statements) {
    const relation = RELATIONS[statement.table % RELATIONS.length] ?? RELATIONS[0];
    const change = makeChange(
      statement,
      relation,
      rows.get(relation) ?? new Map<number, string>(),
      `${index}.${ordinal}`,
    );
    if (change === null) continue;
    ordinal += 1;
    effects.push({ relation, apply: change.apply });
    frames.push(change.frame);
    for (const op of change.ops) events.push(`${commit}:${ordinal} ${relation} ${op}`);
  }
  frames.push(Buffer.concat([text('C'), Buffer.of(0), int64(commit), int64(end), int64(0n)]));
  return {
    commit,
    end,
    events,
    effects,
    frames: frames.map((bytes) => ({ kind: 'data', lsn: commit, bytes, from: 0, end: bytes.length })),
    rows: new Map([...rows].map(([relation, table]) => [relation, new Map(table)])),
  };
}

/** null where there is no row to change. A delete's tombstone is a record of its own. */
function makeChange(
  statement: Statement,
  relation: number,
  rows: Map<number, string>,
  mark: string,
): { readonly frame: Buffer; readonly ops: readonly string[]; readonly apply: RowEffect['apply'] } | null {
  const made = describeStatement(statement, relation, rows, mark);
  made?.apply(rows);
  return made;
}

function describeStatement(
  { kind, row, isBig }: Statement,
  relation: number,
  rows: ReadonlyMap<number, string>,
  mark: string,
): ReturnType<typeof makeChange> {
  const value = `${mark}${isBig ? BIG : ''}`;
  const id = [...rows.keys()][row % Math.max(1, rows.size)] ?? -1;
  const fresh = Math.max(0, ...rows.keys()) + 1 + row;
  const put = (table: Map<number, string>): unknown => table.set(fresh, value);
  switch (kind) {
    case 'insert':
      return {
        frame: Buffer.concat([text('I'), int32(relation), text('N'), tuple(fresh, value)]),
        ops: ['c'],
        apply: put,
      };
    case 'update':
      if (id < 0) return null;
      return {
        frame: Buffer.concat([text('U'), int32(relation), text('N'), tuple(id, value)]),
        ops: ['u'],
        apply: (table) => table.set(id, value),
      };
    case 'rekey': {
      if (id < 0) return null;
      const change = [text('U'), int32(relation), text('K'), tuple(id, null), text('N'), tuple(fresh, value)];
      return {
        frame: Buffer.concat(change),
        ops: ['u'],
        apply: (table) => {
          table.delete(id);
          put(table);
        },
      };
    }
    case 'delete':
      if (id < 0) return null;
      return {
        frame: Buffer.concat([text('D'), int32(relation), text('K'), tuple(id, null)]),
        ops: ['d', ''],
        apply: (table) => table.delete(id),
      };
    case 'truncate':
      return {
        frame: Buffer.concat([text('T'), int32(1), Buffer.of(0), int32(relation)]),
        ops: [],
        apply: (table) => table.clear(),
      };
    case 'barrier': {
      const content = Buffer.from(mark);
      const head = [text('M'), Buffer.of(1), int64(0n), text('restage\0'), int32(content.length), content];
      return { frame: Buffer.concat(head), ops: [], apply: () => undefined };
    }
  }
}

function tuple(id: number, value: string | null): Buffer {
  const cells = [String(id), value].map((cell) =>
    cell === null ? text('n') : Buffer.concat([text('t'), int32(Buffer.byteLength(cell)), Buffer.from(cell)]),
  );
  return Buffer.concat([Buffer.of(0, cells.length), ...cells]);
}

function text(value: string): Buffer {
  return Buffer.from(value);
}
