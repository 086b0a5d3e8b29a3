import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import { isEventFault, sqlStateOf } from '#core/error-policy.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import { formatLsn } from '#core/lsn.ts';
import { formatTable, quoteIdentifier, quoteTable } from '#core/table-name.ts';

const FOREIGN_KEY = '23503';

/** An error of the server that says that it will never take this change as things are: a constraint, a value, a right. */
export function isRefusal(error: unknown): boolean {
  return !(error instanceof RestageError) && isEventFault(error);
}

/** `change` is the one that was refused, where that is known. */
export function refusalError(cause: unknown, where: string, change?: RowChange): RestageError {
  const message = cause instanceof Error ? cause.message : '';
  const { code, what, fix } = explain(cause);
  const name = textOf(cause, 'constraint');
  const error = new RestageError(code, `${what}: ${message}`, {
    cause,
    where: `${name === '' ? '' : `constraint ${name}, `}${where}`,
    fix: `${fix}; the sink goes on from here`,
  });
  if (change !== undefined) noteRefused(error, change);
  return error;
}

/** The error says of this change that the target refuses it. */
export function noteRefused(error: Error, change: RowChange): void {
  REFUSED.set(error, change);
}

const REFUSED = new WeakMap<Error, RowChange>();

/** The change that a refusal names. */
export function refusedChange(error: RestageError): RowChange | null {
  return REFUSED.get(error) ?? null;
}

/** Table, key and position; never other values (invariant 8). */
export function describeChange({ structure, identity }: TargetTable, change: RowChange): string {
  const image = change.kind === 'insert' ? change.after : change.key;
  const key = identity.map((name) => `${name}=${image.get(name) ?? 'NULL'}`).join(', ');
  return `table ${formatTable(structure)}, ${change.kind}${key === '' ? '' : ` of ${key}`}, LSN ${formatLsn(change.position.commit)}, ordinal ${change.position.ordinal}`;
}

function explain(cause: unknown): { readonly code: ErrorCode; readonly what: string; readonly fix: string } {
  const state = sqlStateOf(cause);
  if (state.startsWith('23') || state.startsWith('44'))
    return {
      code: 'target_constraint',
      what: 'a change breaks a constraint of the target',
      fix: `correct the target (somebody wrote to it, or it has constraints that the source has not)${putOff(cause)}`,
    };
  if (state.startsWith('22') || state.startsWith('54'))
    return {
      code: 'target_value',
      what: "a value does not fit the target's column",
      fix: "give the target's column the source's type",
    };
  return {
    code: 'target_refused',
    what: 'the target refuses a change',
    fix: state.startsWith('P0') ? "correct the target's trigger" : 'GRANT the right that the message names',
  };
}

/** One statement at the source may have changed both ends of a foreign key; only at the transaction's end do they fit again. */
function putOff(cause: unknown): string {
  const [schema, table, constraint] = ['schema', 'table', 'constraint'].map((field) => textOf(cause, field));
  if (sqlStateOf(cause) !== FOREIGN_KEY || !schema || !table || !constraint) return '';
  return `, or let the key wait for the transaction's end: ALTER TABLE ${quoteTable({ schema, table })} ALTER CONSTRAINT ${quoteIdentifier(constraint)} DEFERRABLE`;
}

function textOf(error: unknown, field: string): string {
  const value: unknown = error instanceof Error ? Reflect.get(error, field) : undefined;
  return typeof value === 'string' ? value : '';
}
