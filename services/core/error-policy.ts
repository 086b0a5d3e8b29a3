import { RestageError, type ErrorCode, type ErrorKind } from '#core/errors.ts';

/** What a service does about an error: go round again after a pause, or stop for a person. */
export type Reaction = { readonly do: 'retry' } | { readonly do: 'stop'; readonly exitCode: ExitCode };

/** 0 done, 1 a negative answer, 2 wrong usage or configuration, 3 not to be had now, 4 a fault that needs a person. */
export type ExitCode = 0 | 1 | 2 | 3 | 4;

const EXIT_CODES: Record<ErrorKind, ExitCode> = { usage: 2, unreachable: 3, person: 4, retry: 3 };

/**
 * SQLSTATEs worth trying again whole (PostgreSQL: "Error Codes", appendix A): connection (08), rolled back (40: serialization, deadlock),
 * resources (53: disk full, out of memory, too many connections), shutdown (57P01-57P05), lock not available (55P03), read-only target
 * (25006), cancelled (57014). Never quarantined: the same change may pass a moment later.
 */
const TRANSIENT_SQLSTATE = /^(08...|40...|53...|57P0[1-5]|55P03|25006|57014)$/;
/**
 * SQLSTATEs of what the server refuses as often as it is asked: a value (22), a constraint (23), a right (42501), a view's check (44), a
 * limit, as of an index' entry (54), what a trigger raised (P0).
 */
const REFUSED_SQLSTATE = /^(22...|23...|42501|44...|54...|P0...)$/;
/** Faults of one event, as services name them. target_drift is none: it says of the target that it is not what its position claims. */
const REFUSED_CODES: ReadonlySet<ErrorCode> = new Set([
  'target_constraint',
  'target_value',
  'target_refused',
  'record_invalid',
  'record_too_large',
  'rule_failed',
  'value_unmapped',
]);
/** What a statement names by the catalog went while it was on its way: undefined_table, undefined_object, invalid_schema_name. */
const GONE_SQLSTATE = /^(42P01|42704|3F000)$/;
/**
 * internal_error of a statement that met DDL of another session: its row of the catalog went, or was changed by both. The server never
 * translates these (PostgreSQL: "Reporting Errors Within the Server", elog).
 */
const CAUGHT_IN_DDL =
  /^(cache lookup failed for|could not open relation with OID|could not find tuple for|tuple concurrently)/;
const TRANSIENT_NETWORK: ReadonlySet<string> = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

/** The one place that tells transient from permanent. */
export function reactTo(error: unknown): Reaction {
  if (error instanceof RestageError) {
    const { kind } = error;
    return kind === 'retry' || kind === 'unreachable' ? { do: 'retry' } : { do: 'stop', exitCode: EXIT_CODES[kind] };
  }
  return isTransient(error) ? { do: 'retry' } : { do: 'stop', exitCode: 4 };
}

/** True for the fault of an event: where `quarantine` says so, it becomes a dead letter. Never for what may pass by itself. */
export function isEventFault(error: unknown): boolean {
  if (error instanceof RestageError) return REFUSED_CODES.has(error.code);
  return REFUSED_SQLSTATE.test(sqlStateOf(error));
}

/** Of a statement whose names came from the catalog a moment before. */
export function namesWhatIsGone(error: unknown): boolean {
  return GONE_SQLSTATE.test(sqlStateOf(error));
}

/** A server error's SQLSTATE; '' for any other error. */
export function sqlStateOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** A service that ended so does so again until somebody mends what it names. */
export function needsPerson(code: number | string): code is 2 | 4 {
  return code === 2 || code === 4;
}

/** For commands, which do not retry. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof RestageError) return EXIT_CODES[error.kind];
  return isTransient(error) ? 3 : 4;
}

function isTransient(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = sqlStateOf(error);
  return (
    TRANSIENT_SQLSTATE.test(code) ||
    TRANSIENT_NETWORK.has(code) ||
    (code === 'XX000' && CAUGHT_IN_DDL.test(error.message)) ||
    /^Connection terminated|^Client has encountered a connection error|timeout expired|Client was closed/.test(
      error.message,
    )
  );
}
