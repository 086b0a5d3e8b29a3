import { TableEvents, type DebeziumRecord, type DebeziumSource } from '#core/debezium/table-events.ts';
import { cellText, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import { lsnOf, type Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import type { Branch } from '#core/rules/branch.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { structureId } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { UNCHANGED, type Tuple, type TupleValue } from '#core/tuple.ts';

type ShapedEvent = Omit<RowEvent, 'key'>;

/** Shaped events of an output with profile `debezium`. */
export class DebeziumShaper {
  readonly #source: DebeziumSource;
  readonly #tables = new Map<string, TableEvents>();

  constructor(source: DebeziumSource) {
    this.#source = source;
  }

  /** Before the first event of a structure: its schemas may have to be registered. */
  async prepare(branch: Branch): Promise<void> {
    const id = idOf(branch);
    if (this.#tables.has(id)) return;
    this.#tables.set(id, await TableEvents.open(this.#source, branch.shaped, storedColumns(branch.shaped)));
  }

  /** `tail` is the raw envelope's, from its source block on. `position` is null for rows of the snapshot. */
  shape(branch: Branch, event: ShapedEvent, tail: string, position: Position | null, where: string): DebeziumRecord[] {
    const table = this.#tables.get(idOf(branch));
    if (table === undefined) throw new RestageError('bug', 'a structure was not prepared', { where });
    const facts = readTail(tail, where);
    const { before, after, op } = event;
    const columns = storedColumns(branch.shaped).map(({ name }) => name);
    if (op === 'r' && after !== null)
      return [table.snapshotRow(tupleOf(after, columns, null), { ...facts, marker: 'true', readMs: facts.sourceMs })];
    // The raw topics tell which transaction an event is of, not which one came before.
    const stream = { ...facts, lastCommit: position?.commit ?? facts.lsn, order: null };
    const old = before === null ? null : { values: tupleOf(before, columns, null) };
    if (op === 'c' && after !== null) return table.insert(tupleOf(after, columns, UNCHANGED), stream);
    if (op === 'u' && after !== null) return table.update(old, tupleOf(after, columns, UNCHANGED), stream);
    if (op === 'd' && old !== null) return table.delete(old, stream);
    throw new RestageError('record_invalid', `an event ${op} lacks its image`, { where });
  }
}

interface TailFacts {
  readonly database: string;
  readonly xid: number;
  readonly commitTime: bigint;
  readonly lsn: Lsn;
  readonly sourceMs: number;
  readonly processedMs: number;
}

const DATABASE = /"db":("(?:[^"\\]|\\.)*")/;
const XID = /"txId":(\d+|null)/;
const SOURCE_MICROS = /"ts_us":(\d+)/;
const EVENT_MS = /"op":"[a-z]","ts_ms":(\d+)/;
const EVENT_LSN = /"lsn":(\d+)/;

/** By pattern: a quote inside a name stands behind a backslash, so none of these is met in one. */
function readTail(tail: string, where: string): TailFacts {
  const read = (pattern: RegExp): string => {
    const found = pattern.exec(tail)?.[1];
    if (found === undefined)
      throw new RestageError('record_invalid', 'an envelope lacks a part of its source', { where });
    return found;
  };
  const micros = BigInt(read(SOURCE_MICROS));
  const xid = read(XID);
  return {
    database: JSON.parse(read(DATABASE)) as string,
    xid: xid === 'null' ? 0 : Number(xid),
    commitTime: micros,
    lsn: lsnOf(BigInt(read(EVENT_LSN))),
    sourceMs: Number(micros / 1_000n),
    processedMs: Number(read(EVENT_MS)),
  };
}

/** `absent`: in a new image a value that did not change, in an old one a column that is not of the identity. */
function tupleOf(row: Row, columns: readonly string[], absent: TupleValue): Tuple {
  return columns.map((name) => (Object.hasOwn(row, name) ? cellText(row[name] ?? null) : absent));
}

function storedColumns(structure: TableStructure): TableStructure['columns'] {
  return structure.columns.filter((column) => !column.generated);
}

function idOf(branch: Branch): string {
  return structureId({ version: branch.version, structure: branch.shaped });
}
