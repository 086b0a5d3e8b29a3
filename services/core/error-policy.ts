import { RestageError, type ErrorKind } from '#core/errors.ts';

/** What a service does about an error: go round again after a pause, or stop for a person. */
export type Reaction = { readonly do: 'retry' } | { readonly do: 'stop'; readonly exitCode: ExitCode };

/** 0 done, 1 a negative answer, 2 wrong usage or configuration, 3 not to be had now, 4 a fault that needs a person. */
export type ExitCode = 0 | 1 | 2 | 3 | 4;

const EXIT_CODES: Record<ErrorKind, ExitCode> = { usage: 2, unreachable: 3, person: 4, retry: 3 };

/**
 * SQLSTATEs worth trying again whole (PostgreSQL: "Error Codes", appendix A): connection (08), rolled back (40),
 * resources (53), shutdown (57P01-57P03), lock not available (55P03), read-only target (25006), cancelled (57014).
 */
const TRANSIENT_SQLSTATE = /^(08...|40...|53...|57P0[1-5]|55P03|25006|57014)$/;
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

/** For commands, which do not retry. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof RestageError) return EXIT_CODES[error.kind];
  return isTransient(error) ? 3 : 4;
}

function isTransient(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return (
    TRANSIENT_SQLSTATE.test(code) ||
    TRANSIENT_NETWORK.has(code) ||
    /^Connection terminated|^Client has encountered a connection error|timeout expired|Client was closed/.test(
      error.message,
    )
  );
}
