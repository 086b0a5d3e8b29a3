import pg from 'pg';
import { RestageError } from '#core/errors.ts';

export interface SessionOptions {
  readonly url: string;
  /** Which side it is, for error codes and messages. */
  readonly purpose: 'source' | 'target';
  /** application_name, so that people see who is connected. */
  readonly application: string;
  /** A walsender session: replication commands and simple queries only. */
  readonly replication?: boolean;
  /** Queries go out before earlier ones are answered, so that loops may share it, and ask several things at once; for statements alone, no COPY. */
  readonly pipelined?: boolean;
  /** Further settings, by their PostgreSQL names. */
  readonly settings?: Readonly<Record<string, string>>;
  /** The lease's: who loses it stops at once, so the session is cut when it aborts, also in the middle of a statement. */
  readonly until?: AbortSignal;
}

/**
 * What decides how values print and read back: the same on every connection, else the two sides differ (invariant 5).
 * PostgreSQL: "Client Connection Defaults", "Date/Time Types", "Monetary Types".
 */
const PINNED_SETTINGS: Readonly<Record<string, string>> = {
  datestyle: 'ISO, MDY',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  extra_float_digits: '3',
  bytea_output: 'hex',
  lc_monetary: 'C',
  xmloption: 'content',
  xmlbinary: 'base64',
  search_path: '',
  standard_conforming_strings: 'on',
  client_encoding: 'UTF8',
  // What regclass and its kin print.
  quote_all_identifiers: 'off',
  // Else NULL in an array reads back as a string.
  array_nulls: 'on',
  transform_null_equals: 'off',
  // What lets Restage's own sessions past the guard of a migration (migration/guard.ts).
  'restage.writer': 'on',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
};

/** Long copies and waits are Restage's daily work: the server must not end them for their length. */
const NO_TIMEOUTS: Readonly<Record<string, string>> = {
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
};

const TOO_MANY_CONNECTIONS = '53300';
const NO_FILE_DESCRIPTOR = 'EMFILE';
/** PgBouncer's word for `options` and `replication`. */
const UNSUPPORTED_PARAMETER = /unsupported (options )?startup parameter/i;
/** A time-out that older servers do not know, and would refuse at start-up: PostgreSQL 17 and newer. */
const NO_TRANSACTION_TIMEOUT = `SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout' AND setting <> '0'`;

const CONNECT_TIMEOUT_MS = 10_000;
/** A peer that is gone without a word is noticed on an idle session after this and ten probes, a second apart. */
const KEEP_ALIVE_AFTER_MS = 10_000;
/** A goodbye that nobody answers must not keep a service from going on. */
const END_LIMIT_MS = 2_000;

/**
 * Opens a session with every pinned setting given at start-up, where no later SET can come too late.
 * @throws RestageError config_invalid, database_missing, and `source_` or `target_` with unreachable, auth or denied.
 */
export async function connectPg(options: SessionOptions): Promise<pg.Client> {
  const client = makeClient(options);
  // A connection that breaks between queries must not end the process: the next query reports it.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(NO_TRANSACTION_TIMEOUT);
  } catch (cause) {
    await client.end().catch(() => undefined);
    throw connectError(options, cause);
  }
  if (options.until !== undefined) cutWhen(client, options.until);
  return client;
}

function cutWhen(client: pg.Client, until: AbortSignal): void {
  const cut = (): void => cutSession(client);
  client.once('end', () => until.removeEventListener('abort', cut));
  until.addEventListener('abort', cut);
  if (until.aborted) cut();
}

/** Without a word to the server: what waits for an answer fails at once. */
export function cutSession(client: pg.Client): void {
  client.connection.stream.destroy();
}

/** The driver waits for the server to close the connection, however long that takes. */
class BoundedClient extends pg.Client {
  override end(): Promise<void>;
  override end(callback: (error: Error) => void): void;
  override end(callback?: (error: Error) => void): Promise<void> | void {
    const timer = setTimeout(() => cutSession(this), END_LIMIT_MS);
    this.once('end', () => clearTimeout(timer));
    return callback === undefined ? super.end().finally(() => clearTimeout(timer)) : super.end(callback);
  }
}

/** host:port/database of a URL, for messages: never its password (invariant 8). */
export function describeUrl(url: string): string {
  try {
    const parsed = new URL(url);
    return `${parsed.hostname}:${parsed.port || '5432'}${parsed.pathname}`;
  } catch {
    return 'an address that is not a URL';
  }
}

/** Every pinned setting in the form of the start-up parameter `options`: of several, the last one counts. */
export function startupOptions(more: Readonly<Record<string, string>> = {}): string {
  return Object.entries({ ...PINNED_SETTINGS, ...NO_TIMEOUTS, ...more })
    .map(([name, value]) => `-c ${name}=${escapeOption(value)}`)
    .join(' ');
}

/** Parameters of a URL that the driver would prefer to ours. */
const NOT_FROM_URL = [
  'options',
  'application_name',
  'fallback_application_name',
  'client_encoding',
  'replication',
  'statement_timeout',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'query_timeout',
] as const;

/** The URL without what is ours to say, and its `options`, which go before the pinned ones. */
function splitUrl(options: SessionOptions): { readonly url: string; readonly options: string } {
  if (!/^postgres(ql)?:\/\//.test(options.url) || !URL.canParse(options.url)) {
    throw new RestageError('config_invalid', `the ${options.purpose}'s url is not a postgresql:// URL`, {
      fix: 'write it as postgresql://user:password@host:5432/database',
    });
  }
  const url = new URL(options.url);
  const ofUrl = url.searchParams.get('options') ?? '';
  for (const name of NOT_FROM_URL) url.searchParams.delete(name);
  return { url: url.href, options: ofUrl };
}

/** The driver reads the URL, and the certificates that it names, when the client is made. */
function makeClient(options: SessionOptions): pg.Client {
  const { url, options: ofUrl } = splitUrl(options);
  try {
    return new BoundedClient({
      connectionString: url,
      application_name: options.application,
      options: `${ofUrl} ${startupOptions(options.settings)}`,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
      pipeline: options.pipelined === true,
      ...(options.replication === true ? { replication: 'database' } : {}),
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RestageError('config_invalid', `the ${options.purpose}'s url cannot be used: ${why}`, {
      where: describeUrl(options.url),
      cause,
      fix: 'correct what the message names; special characters of user and password are written as %XX',
    });
  }
}

/** PostgreSQL: "PostgreSQL Error Codes", classes 28 and 3D. The driver itself refuses to log in without a password, with no code. */
function connectError(options: SessionOptions, cause: unknown): RestageError {
  const { purpose } = options;
  const where = describeUrl(options.url);
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const what = cause instanceof Error ? cause.message || code : String(cause);
  if (code === '28P01' || what.startsWith('SASL')) {
    return new RestageError(`${purpose}_auth`, `the ${purpose} does not accept user and password: ${what}`, {
      where,
      cause,
      fix: `correct user and password in the ${purpose}'s url`,
    });
  }
  if (code === '3D000') {
    return new RestageError('database_missing', `the ${purpose}'s server has no such database: ${what}`, {
      where,
      cause,
      fix: `correct the database in the ${purpose}'s url, or make it`,
    });
  }
  if (code.startsWith('28') || code === '42501') {
    return new RestageError(`${purpose}_denied`, `the ${purpose} refused the connection: ${what}`, {
      where,
      cause,
      fix: 'allow the role: its line in pg_hba.conf, LOGIN, CONNECT on the database and, for the source, REPLICATION',
    });
  }
  return new RestageError(`${options.purpose}_unreachable`, `cannot reach the ${options.purpose}: ${what}`, {
    where,
    cause,
    fix: fixOf(code, what, purpose),
  });
}

function fixOf(code: string, what: string, purpose: SessionOptions['purpose']): string {
  if (UNSUPPORTED_PARAMETER.test(what))
    return `a pooler answers there, which does not take the settings of a session: name the server itself in the ${purpose}'s url`;
  if (code === TOO_MANY_CONNECTIONS)
    return `raise max_connections and max_wal_senders, or lower ${purpose === 'source' ? 'source.snapshotWorkers' : 'targets[].loadWorkers'}`;
  if (code === NO_FILE_DESCRIPTOR) return "raise the process's limit of open files (ulimit -n)";
  return 'check host and port, and that the server runs and accepts connections';
}

/** Start-up options split at spaces; a backslash escapes (PostgreSQL: "Connection Control Functions", options). */
function escapeOption(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll(' ', '\\ ');
}
