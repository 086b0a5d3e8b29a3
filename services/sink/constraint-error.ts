import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import { RestageError } from '#core/errors.ts';
import { formatLsn } from '#core/lsn.ts';
import { formatTable, quoteIdentifier, quoteTable } from '#core/table-name.ts';

const CONSTRAINT_CLASS = '23';
const FOREIGN_KEY = '23503';

/** A server error's SQLSTATE; '' for any other error. */
export function codeOf(error: unknown): string {
  return textOf(error, 'code');
}

export function isConstraint(error: unknown): boolean {
  return codeOf(error).startsWith(CONSTRAINT_CLASS);
}

export function constraintError(cause: unknown, where: string): RestageError {
  const name = textOf(cause, 'constraint');
  const message = cause instanceof Error ? cause.message : '';
  return new RestageError('target_constraint', `a change breaks a constraint of the target: ${message}`, {
    cause,
    where: `${name === '' ? '' : `constraint ${name}, `}${where}`,
    fix: `correct the target (somebody wrote to it, or it has constraints that the source has not)${putOff(cause)}; the sink goes on from here`,
  });
}

/** Table, key and position; never other values (invariant 8). */
export function describeChange({ structure, identity }: TargetTable, change: RowChange): string {
  const image = change.kind === 'insert' ? change.after : change.key;
  const key = identity.map((name) => `${name}=${image.get(name) ?? 'NULL'}`).join(', ');
  return `table ${formatTable(structure)}, ${change.kind}${key === '' ? '' : ` of ${key}`}, LSN ${formatLsn(change.position.commit)}, ordinal ${change.position.ordinal}`;
}

/** One statement at the source may have changed both ends of a foreign key; only at the transaction's end do they fit again. */
function putOff(cause: unknown): string {
  const [schema, table, constraint] = ['schema', 'table', 'constraint'].map((field) => textOf(cause, field));
  if (codeOf(cause) !== FOREIGN_KEY || !schema || !table || !constraint) return '';
  return `, or let the key wait for the transaction's end: ALTER TABLE ${quoteTable({ schema, table })} ALTER CONSTRAINT ${quoteIdentifier(constraint)} DEFERRABLE`;
}

function textOf(error: unknown, field: string): string {
  const value: unknown = error instanceof Error ? Reflect.get(error, field) : undefined;
  return typeof value === 'string' ? value : '';
}
