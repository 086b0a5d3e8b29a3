import { makeColumn, type ColumnType } from '#adapters/postgres/column-types.ts';
import type { Relation } from '#adapters/postgres/source/pgoutput-message.ts';
import { RestageError } from '#core/errors.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable, type TableName } from '#core/table-name.ts';

interface ShapeParts {
  /** Of the events before. */
  readonly before: TableStructure;
  /** The catalog's; null where the table is gone. */
  readonly now: TableStructure | null;
  /** Generated columns that are not sent, by name. */
  readonly computed: ReadonlyMap<string, ColumnStructure>;
}

/**
 * The structure of the events that a Relation message announces: names and types are the message's; what else is known of a column is
 * the catalog's or the structure's before. A column that a later statement added must not change the version of rows written before it.
 */
export function makeShape(
  relation: Relation,
  { schema, table }: TableName,
  sent: readonly ColumnStructure[],
  { before, now, computed }: ShapeParts,
): TableStructure {
  const base = now ?? before;
  const byName = new Map([...sent.map((column) => [column.name, column] as const), ...computed]);
  // In the catalog's order, computed columns among the others, so that equal shapes have equal versions.
  const inOrder = base.columns.flatMap((column) => byName.get(column.name) ?? []);
  const isComplete = inOrder.length === byName.size;
  const columns = isComplete ? inOrder : [...sent, ...computed.values()];
  const structure = { ...base, ...keysAsSent(relation, base, before), schema, table, topic: before.topic, columns };
  const has = (name: string): boolean => structure.columns.some((column) => column.name === name);
  if (!structure.identity.columns.every(has))
    throw untold(relation, `identity ${structure.identity.columns.join(', ')}`);
  return structure;
}

/** How the events name their rows is the message's too: where the catalog is ahead in that, it is as it was before. */
function keysAsSent(
  relation: Relation,
  base: TableStructure,
  before: TableStructure,
): Pick<TableStructure, 'identity' | 'primaryKey'> {
  const { identity, primaryKey } = isAsSent(base, relation) || !isAsSent(before, relation) ? base : before;
  return { identity, primaryKey };
}

function isAsSent({ identity, columns: all }: TableStructure, { replicaIdentity, columns }: Relation): boolean {
  // FULL names no row beside a virtual column: the server refuses UPDATE and DELETE (PostgreSQL 18: "Generated Column Replication").
  if (replicaIdentity === 'f') return identity.isFull || all.some(({ generation }) => generation?.kind === 'virtual');
  if (identity.isFull) return false;
  return marksAsKey(columns, identity.columns);
}

/** Whether a Relation message marks just these columns as those that name a row, in any order. */
export function marksAsKey(columns: Relation['columns'], names: readonly string[]): boolean {
  const keys = columns.filter(({ isKey }) => isKey);
  return names.length === keys.length && keys.every(({ name }) => names.includes(name));
}

/**
 * The columns of the events that a Relation message announces, in their order. What a later statement changed of one must not change the
 * version of rows written before it.
 */
export function sentColumns(
  relation: Relation,
  types: readonly (ColumnType | null)[],
  { before, now }: Pick<ShapeParts, 'before' | 'now'>,
): ColumnStructure[] {
  return relation.columns.map(({ name }, index): ColumnStructure => {
    const type = types[index] ?? null;
    if (type === null) throw untold(relation, `the type of column ${name} is gone`);
    const [is, was] = [now, before].map((table) => table?.columns.find((column) => column.name === name));
    // The catalog may have given the name to a generated one meanwhile, which nobody sends.
    const known = is === undefined || (is.generated && was?.generated === false) ? was : is;
    const { collation: _, ...facts } = known ?? { notNull: false, generated: false, identity: '' };
    const collation = [is, was].find((column) => column?.type === type.type)?.collation;
    return makeColumn(name, type, { ...facts, ...(collation === undefined ? {} : { collation }) });
  });
}

function untold(relation: Relation, what: string): RestageError {
  return new RestageError('ddl_unsupported', 'a table changed in a way that the stream alone does not tell', {
    where: `${formatTable({ schema: relation.schema, table: relation.table })}: ${what}; columns in the stream: ${relation.columns.map(({ name }) => name).join(', ')}`,
    fix: 'take the table out of source.tables, or start the pipeline anew under another name',
  });
}
