import type { PgoutputMessage, Relation } from '#adapters/postgres/source/pgoutput-message.ts';
import type { Config } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { CapturePolicy } from '#core/rules/capture-policy.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import { textsOf } from '#core/tuple.ts';
import type { RelationBook } from './relation-book.ts';
import type { WrittenStructures } from './written-structures.ts';

/** A row's values as they are captured: from here on nobody sees the others. */
export function maskMessage(message: PgoutputMessage, book: Pick<RelationBook, 'get'>): PgoutputMessage {
  if (message.tag !== 'insert' && message.tag !== 'update' && message.tag !== 'delete') return message;
  const mask = book.get(message.relation)?.mask ?? null;
  if (mask === null) return message;
  switch (message.tag) {
    case 'insert':
      return { ...message, after: mask(textsOf(message.after)) };
    case 'update': {
      const { before } = message;
      return {
        ...message,
        before: before === null ? null : { ...before, values: mask(textsOf(before.values)) },
        after: mask(textsOf(message.after)),
      };
    }
    case 'delete':
      return { ...message, before: { ...message.before, values: mask(textsOf(message.before.values)) } };
  }
}

/** Masks and exclusions are those of the events that are in Kafka. @throws RestageError state_foreign. */
export function requireSameCapture(
  config: Config,
  tables: readonly TableStructure[],
  written: WrittenStructures,
): void {
  const policy = new CapturePolicy(config);
  for (const table of tables) {
    const before = written.currentOf(table.topic);
    if (before !== null) policy.requireSame(before.structure, table, namesOf(table));
  }
}

/** Rows that were there have an added column's value as the catalog keeps it: that one is masked too. */
export function maskFills(
  policy: CapturePolicy,
  structure: TableStructure,
  changes: readonly ColumnChange[],
): readonly ColumnChange[] {
  return changes.map((change) => {
    const mask = change.kind === 'add' ? policy.rowMask(structure, [change.column]) : null;
    if (change.kind !== 'add' || mask === null) return change;
    return { ...change, fill: mask([change.fill])[0] ?? null, expression: null };
  });
}

/**
 * A name that `source.columns` gives no longer stands for the column that it was given for: then values would pass that nobody meant
 * to. @throws RestageError ddl_unsupported; state_foreign.
 */
export function requireSafeColumns(
  policy: CapturePolicy,
  {
    relation,
    before,
    structure,
    now,
    changes,
  }: {
    readonly relation: Relation;
    readonly before: TableStructure;
    readonly structure: TableStructure;
    /** The catalog's; null where the table is gone. */
    readonly now: TableStructure | null;
    readonly changes: readonly ColumnChange[];
  },
): void {
  const sent = new Set(relation.columns.map(({ name }) => name));
  policy.requireSame(before, structure, [...sent]);
  for (const column of policy.namedColumns(structure)) {
    if (sent.has(column)) continue;
    const isDropped = changes.some((change) => change.kind === 'drop' && change.column === column);
    // A list of columns in the owner's publication leaves it out at the server.
    const isUnsent = policy.isExcluded(structure, column) && now?.columns.some(({ name }) => name === column) === true;
    if (isDropped || isUnsent) continue;
    throw new RestageError(
      'ddl_unsupported',
      `column ${column}, which source.columns names, is gone or has another name`,
      {
        where: `table ${formatTable(structure)}`,
        fix: 'say in source.columns what is to become of the column under its new name, or take the entry out if it was dropped',
      },
    );
  }
}

function namesOf(table: TableStructure): string[] {
  return [...table.columns.map(({ name }) => name), ...(table.excluded ?? [])];
}
