import pg from 'pg';
import { cellText, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import type { ReadRow } from '#core/rules/event-place.ts';
import type { Meeting } from '#core/rules/output-rules.ts';
import { eventsOf } from '#core/rules/row-delta.ts';
import { formatTable } from '#core/table-name.ts';
import type { UnverifiedRow } from '#core/verify/verify-report.ts';
import { castText } from '#adapters/postgres/value-type.ts';
import { arrayLiteral } from '#adapters/postgres/target/row-arrays.ts';
import type { ShapedTable } from './shaped-table.ts';
import { readSourceRows } from './source-rows.ts';
import type { TableSide } from './table-side.ts';

const ROWS_A_BATCH = 2_000;
const CHARACTERS_A_BATCH = 2_000_000;
/** More failures than this are counted only. */
const MOST_FAILURES = 1_000;
/** Nothing that is compared depends on it. */
const NO_TIME = 0n;

export interface ExpectedOptions {
  /** Sessions in a snapshot each. */
  readonly source: pg.Client;
  readonly target: pg.Client;
  readonly signal: AbortSignal;
}

/** A row that is to be at the target. */
interface ExpectedRow {
  readonly row: Row;
  readonly meeting: Meeting;
  readonly from: Row;
}

/**
 * What the rules make of the source's rows, streamed through the target's server in batches: it reads each text by its column's type, so
 * that what is hashed is that type's own form. Memory does not grow with the table (invariant 6).
 */
export class ExpectedRows {
  readonly #table: ShapedTable;
  readonly #options: ExpectedOptions;
  /** A batch as a table whose columns are named and typed as the target's. */
  readonly side: TableSide;
  readonly #lookUp: ReadRow;
  #failures: UnverifiedRow[] = [];
  #failed = 0;

  constructor(table: ShapedTable, options: ExpectedOptions, lookUp: ReadRow) {
    this.#lookUp = lookUp;
    this.#table = table;
    this.#options = options;
    const columns = table.target.columns.map((column, index) => {
      const type = table.types[index];
      return `${type === undefined ? `s.c${index}` : castText(type, `s.c${index}`)} AS ${column}`;
    });
    const parameters = table.target.columns.map((_, index) => `$${index + 1}::text[]`).join(', ');
    const names = table.target.columns.map((_, index) => `c${index}`).join(', ');
    this.side = {
      ...table.target,
      sql: `(SELECT ${columns.join(', ')} FROM unnest(${parameters}) AS s(${names})) AS expected`,
    };
  }

  /** Rows that a rule failed for, or whose values the target's types do not take, by the source's key. */
  get failures(): readonly UnverifiedRow[] {
    return this.#failures;
  }

  /** How many there are beyond those. */
  get failuresLeft(): number {
    return this.#failed - this.#failures.length;
  }

  /** Reads the source once; `sql` runs for each batch, its arrays the first parameters, `more` the next ones. */
  async each(sql: string, more: readonly unknown[], take: (row: pg.QueryResultRow) => void): Promise<void> {
    this.#failures = [];
    this.#failed = 0;
    const { source, signal } = this.#options;
    for (const meeting of this.#table.sources) {
      let batch: ExpectedRow[] = [];
      let characters = 0;
      for await (const rows of readSourceRows(source, meeting, signal)) {
        for (const from of rows) {
          for (const row of this.#shape(meeting, from)) {
            batch.push({ row, meeting, from });
            characters += sizeOf(row);
          }
          if (batch.length < ROWS_A_BATCH && characters < CHARACTERS_A_BATCH) continue;
          await this.#run(sql, more, batch, take);
          batch = [];
          characters = 0;
        }
      }
      await this.#run(sql, more, batch, take);
    }
  }

  #shape(meeting: Meeting, from: Row): Row[] {
    try {
      const pair = { op: 'r', old: null, now: from, unchanged: [] } as const;
      const events = eventsOf(meeting.branch, pair, {
        place: formatTable(meeting.source),
        time: NO_TIME,
        lookUp: this.#lookUp,
      });
      return events.flatMap(({ after }) => (after === null ? [] : [after]));
    } catch (error) {
      if (!(error instanceof RestageError)) throw error;
      this.#fail(meeting, from, `${error.code}: ${error.message}`);
      return [];
    }
  }

  /** What the server refuses is found by halves: a value that the column's type at the target does not take. */
  async #run(
    sql: string,
    more: readonly unknown[],
    batch: readonly ExpectedRow[],
    take: (row: pg.QueryResultRow) => void,
  ): Promise<void> {
    if (batch.length === 0) return;
    const { target } = this.#options;
    const arrays = this.#table.columnNames.map((name) =>
      String(arrayLiteral(batch.map(({ row }) => cellText(row[name] ?? null)))),
    );
    await target.query('SAVEPOINT restage_batch');
    try {
      const { rows } = await target.query(sql, [...arrays, ...more]);
      await target.query('RELEASE SAVEPOINT restage_batch');
      for (const row of rows) take(row);
    } catch (error) {
      if (!isValueFault(error)) throw error;
      await target.query('ROLLBACK TO SAVEPOINT restage_batch; RELEASE SAVEPOINT restage_batch');
      const [first] = batch;
      if (batch.length === 1 && first !== undefined) {
        this.#fail(first.meeting, first.from, `the target's type does not take a value (SQLSTATE ${error.code ?? ''})`);
        return;
      }
      const half = Math.ceil(batch.length / 2);
      await this.#run(sql, more, batch.slice(0, half), take);
      await this.#run(sql, more, batch.slice(half), take);
    }
  }

  #fail({ source, branch }: Meeting, from: Row, why: string): void {
    this.#failed += 1;
    if (this.#failures.length >= MOST_FAILURES) return;
    const names = source.identity.columns;
    const key = Object.fromEntries(
      names.map((name) => {
        const text = cellText(from[name] ?? null);
        return [name, branch.masks.get(name)?.apply(text) ?? text ?? ''];
      }),
    );
    this.#failures.push({ key, reason: `${branch.name}: ${why}` });
  }
}

/** Data exceptions, and checks of a domain (PostgreSQL: "Error Codes"). */
function isValueFault(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError && /^2[23]/.test(error.code ?? '');
}

function sizeOf(row: Row): number {
  let size = 0;
  for (const cell of Object.values(row)) size += typeof cell === 'string' ? cell.length : 8;
  return size;
}
