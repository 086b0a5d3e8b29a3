import type pg from 'pg';
import { quoteIdentifier, quoteTable, tableKey, type TableName } from '#core/table-name.ts';

/** A sequence as the catalog knows it. Numbers are 64-bit, so bigint. */
export interface SequenceState extends TableName {
  /** null: never used. */
  readonly last: bigint | null;
  readonly start: bigint;
  readonly increment: bigint;
  readonly min: bigint;
  readonly max: bigint;
  /** The column that owns it (serial or identity); null for a free one. */
  readonly owner: (TableName & { readonly column: string }) | null;
}

export interface SequenceStep extends TableName {
  readonly from: string | null;
  /** The next value is past this one. */
  readonly to: string;
  readonly change: 'set' | 'kept' | 'missing';
}

/** PostgreSQL: "pg_sequence"; deptype a is a serial column's sequence, i an identity column's. */
const SEQUENCES_SQL = `
  SELECT n.nspname AS schema, c.relname AS "table", pg_catalog.pg_sequence_last_value(c.oid)::text AS last,
         s.seqstart::text AS start, s.seqincrement::text AS increment, s.seqmin::text AS min, s.seqmax::text AS max,
         tn.nspname AS owner_schema, t.relname AS owner_table, a.attname AS owner_column
    FROM pg_catalog.pg_sequence s
    JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
   WHERE c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'restage')
   ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`;

type SequenceRow = Record<'schema' | 'table' | 'start' | 'increment' | 'min' | 'max', string> &
  Record<'last' | 'owner_schema' | 'owner_table' | 'owner_column', string | null>;

export async function readSequences(client: pg.ClientBase): Promise<SequenceState[]> {
  const { rows } = await client.query<SequenceRow>(SEQUENCES_SQL);
  return rows.map((row) => ({
    schema: row.schema,
    table: row.table,
    last: row.last === null ? null : BigInt(row.last),
    start: BigInt(row.start),
    increment: BigInt(row.increment),
    min: BigInt(row.min),
    max: BigInt(row.max),
    owner:
      row.owner_schema === null || row.owner_table === null || row.owner_column === null
        ? null
        : { schema: row.owner_schema, table: row.owner_table, column: row.owner_column },
  }));
}

/** The owning column's value furthest along the sequence's direction; null on an empty table. */
export async function readOwnerExtreme(client: pg.ClientBase, sequence: SequenceState): Promise<bigint | null> {
  if (sequence.owner === null) return null;
  const furthest = sequence.increment > 0n ? 'max' : 'min';
  const column = quoteIdentifier(sequence.owner.column);
  const found = await client.query<{ value: string | null }>(
    `SELECT pg_catalog.trunc(pg_catalog.${furthest}(${column})::pg_catalog.numeric)::text AS value FROM ${quoteTable(sequence.owner)}`,
  );
  const value = found.rows[0]?.value ?? null;
  return value === null ? null : BigInt(value);
}

/**
 * Where the target's sequence must stand so that its next value is new on both sides; null when nobody ever used it.
 * `margin` counts steps of the sequence, for what the source hands out meanwhile. Never past its bounds.
 */
export function aheadOf(sequence: SequenceState, others: readonly (bigint | null)[], margin: bigint): bigint | null {
  const isUp = sequence.increment > 0n;
  const known = [sequence.last, ...others].filter((value) => value !== null);
  if (known.length === 0) return null;
  const furthest = known.reduce((best, value) => ((isUp ? value > best : value < best) ? value : best));
  const wanted = furthest + margin * sequence.increment;
  if (wanted > sequence.max) return sequence.max;
  return wanted < sequence.min ? sequence.min : wanted;
}

/** Looks at each sequence of the target that the source has too, and sets it unless `isDryRun`. */
export async function setSequences(
  source: pg.ClientBase,
  target: pg.ClientBase,
  options: { readonly margin: bigint; readonly isDryRun: boolean },
): Promise<SequenceStep[]> {
  const theirs = new Map((await readSequences(source)).map((sequence) => [tableKey(sequence), sequence]));
  const steps: SequenceStep[] = [];
  for (const ours of await readSequences(target)) {
    const original = theirs.get(tableKey(ours));
    theirs.delete(tableKey(ours));
    const to = aheadOf(ours, [original?.last ?? null, await readOwnerExtreme(target, ours)], options.margin);
    const name = { schema: ours.schema, table: ours.table };
    if (to === null || to === ours.last) {
      steps.push({ ...name, from: ours.last?.toString() ?? null, to: (to ?? ours.start).toString(), change: 'kept' });
      continue;
    }
    if (!options.isDryRun) {
      await target.query('SELECT pg_catalog.setval($1::pg_catalog.regclass, $2::pg_catalog.int8, true)', [
        quoteTable(name),
        to.toString(),
      ]);
    }
    steps.push({ ...name, from: ours.last?.toString() ?? null, to: to.toString(), change: 'set' });
  }
  for (const { schema, table, last } of theirs.values()) {
    steps.push({ schema, table, from: null, to: last?.toString() ?? '', change: 'missing' });
  }
  return steps;
}
