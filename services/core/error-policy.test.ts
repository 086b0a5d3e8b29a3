import { expect, test } from 'vitest';
import { exitCodeOf, isEventFault, reactTo, type ExitCode } from './error-policy.ts';
import { RestageError, type ErrorCode } from './errors.ts';

/** What is done about it, the exit code of a command that meets it, whether it is the fault of one event. */
type Row = readonly [state: string, does: 'retry' | 'stop', exitCode: ExitCode, isEvents: boolean];

const SQLSTATES: readonly Row[] = [
  ['08000', 'retry', 3, false],
  ['08006', 'retry', 3, false],
  ['22001', 'stop', 4, true],
  ['22003', 'stop', 4, true],
  ['22P02', 'stop', 4, true],
  ['23502', 'stop', 4, true],
  ['23503', 'stop', 4, true],
  ['23505', 'stop', 4, true],
  ['23514', 'stop', 4, true],
  ['23P01', 'stop', 4, true],
  ['25006', 'retry', 3, false],
  ['40001', 'retry', 3, false],
  ['40P01', 'retry', 3, false],
  ['42501', 'stop', 4, true],
  ['42P01', 'stop', 4, false],
  ['44000', 'stop', 4, true],
  ['53100', 'retry', 3, false],
  ['53200', 'retry', 3, false],
  ['53300', 'retry', 3, false],
  ['54000', 'stop', 4, true],
  ['55P03', 'retry', 3, false],
  ['57014', 'retry', 3, false],
  ['57P01', 'retry', 3, false],
  ['57P03', 'retry', 3, false],
  ['58030', 'stop', 4, false],
  ['P0001', 'stop', 4, true],
  ['XX000', 'stop', 4, false],
  ['ECONNRESET', 'retry', 3, false],
  ['EAI_AGAIN', 'retry', 3, false],
  ['ENOSPC', 'stop', 4, false],
];

test.each(SQLSTATES)('%s: %s, exit %i, the fault of an event: %s', (code, does, exitCode, isEvents) => {
  expectPolicy(Object.assign(new Error('as the server says'), { code }), does, exitCode, isEvents);
});

test.each([
  ['cache lookup failed for relation 16384', 'retry', 3],
  ['could not open relation with OID 16384', 'retry', 3],
  ['tuple concurrently updated', 'retry', 3],
  ['unexpected data beyond EOF in block 1', 'stop', 4],
] as const)('internal_error of a statement that met DDL passes: %s', (message, does, exitCode) => {
  expectPolicy(Object.assign(new Error(message), { code: 'XX000' }), does, exitCode, false);
});

const CODES: readonly (readonly [ErrorCode, ...(readonly ['retry' | 'stop', ExitCode, boolean])])[] = [
  ['kafka_unreachable', 'retry', 3, false],
  ['kafka_fault', 'retry', 3, false],
  ['fenced', 'retry', 3, false],
  ['lease_lost', 'retry', 3, false],
  ['target_unreachable', 'retry', 3, false],
  ['kafka_denied', 'stop', 4, false],
  ['config_invalid', 'stop', 2, false],
  ['history_lost', 'stop', 4, false],
  ['manifest_invalid', 'stop', 4, false],
  ['target_drift', 'stop', 4, false],
  ['load_overlap', 'stop', 4, false],
  ['ddl_unsupported', 'stop', 4, false],
  ['target_altered', 'stop', 4, false],
  ['target_constraint', 'stop', 4, true],
  ['target_value', 'stop', 4, true],
  ['target_refused', 'stop', 4, true],
  ['record_invalid', 'stop', 4, true],
  ['record_too_large', 'stop', 4, true],
  ['rule_failed', 'stop', 4, true],
  ['value_unmapped', 'stop', 4, true],
  ['bug', 'stop', 4, false],
];

test.each(CODES)('%s: %s, exit %i, the fault of an event: %s', (code, does, exitCode, isEvents) => {
  expectPolicy(new RestageError(code, 'said'), does, exitCode, isEvents);
});

test.each(['Connection terminated unexpectedly', 'timeout expired'])('%s: tried again', (message) => {
  expectPolicy(new Error(message), 'retry', 3, false);
});

test('what is no error of a server is a fault for a person', () => {
  for (const error of [new TypeError('x is not a function'), 'text', null]) expectPolicy(error, 'stop', 4, false);
});

function expectPolicy(error: unknown, does: 'retry' | 'stop', exitCode: ExitCode, isEvents: boolean): void {
  expect(reactTo(error)).toMatchObject({ do: does });
  expect(exitCodeOf(error)).toBe(exitCode);
  expect(isEventFault(error)).toBe(isEvents);
}
