import { listSome, type Finding } from './finding.ts';

const LARGEST_SKEW_MS = 500;
const LONGEST_ROUND_TRIP_MS = 20;
/** Of the two thousand million that there are (PostgreSQL: "Preventing Transaction ID Wraparound Failures"). */
const OLDEST_AGE = 1_000_000_000;
const LONG_S = 60;
/** A sink's lease, its apply session, status and one to spare, beside the load's workers. */
const OTHER_SESSIONS = 4;

/** What was measured of a server: its name, one round trip, and its clock less ours at the middle of it. Milliseconds. */
export interface Probed {
  readonly name: string;
  readonly roundTripMs: number;
  readonly skewMs: number;
}

/** A clock is known as well as the way to it is short. */
export function judgeClock({ name, skewMs, roundTripMs }: Probed): Finding[] {
  if (Math.abs(skewMs) <= LARGEST_SKEW_MS + roundTripMs) return [];
  return [
    {
      what: 'clocks differ: lag in seconds is wrong by as much, and a point in time means another one on each side',
      evidence: `${name}: ${(skewMs / 1000).toFixed(1)} s from the clock here`,
      fix: 'let NTP set the clocks of all machines',
    },
  ];
}

export function judgeRoundTrip({ name, roundTripMs }: Probed): Finding[] {
  if (roundTripMs <= LONGEST_ROUND_TRIP_MS) return [];
  return [
    {
      what: 'a long way to a server: each epoch takes several round trips',
      evidence: `${name}: ${roundTripMs.toFixed(0)} ms`,
      fix: name === 'source' ? 'run the producer near the source' : 'run this sink near its target',
    },
  ];
}

/** Of a source that is one. `feedback`: its hot_standby_feedback. */
export function judgeStandby(major: number, feedback: string): Finding[] {
  if (major < 16)
    return [
      {
        what: 'a stand-by of this version cannot decode',
        evidence: `PostgreSQL ${major}, pg_is_in_recovery() is true`,
        fix: "name the primary in the source's url",
      },
    ];
  if (feedback === 'on') return [];
  return [
    {
      severity: 'warn',
      what: 'the primary may remove rows that decoding needs, which ends the slot of a stand-by',
      evidence: `hot_standby_feedback = ${feedback}`,
      fix: 'ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf(); -- on the stand-by, with primary_slot_name set',
    },
  ];
}

/** `age`: of the database's oldest transaction, in transactions. */
export function judgeAge(age: number): Finding[] {
  if (age < OLDEST_AGE) return [];
  return [
    {
      what: 'the source will vacuum against wraparound, and the load holds back vacuum',
      evidence: `the oldest transaction is ${age} transactions old`,
      fix: 'VACUUM (FREEZE); -- of the oldest tables, before the load',
    },
  ];
}

export interface OpenTransaction {
  readonly pid: number;
  readonly seconds: number;
  readonly state: string | null;
}

export function judgeTransactions(open: readonly OpenTransaction[]): Finding[] {
  const long = open.filter(({ seconds }) => seconds > LONG_S);
  if (long.length === 0) return [];
  return [
    {
      what: 'long transactions hold up the making of a slot',
      evidence: listSome(
        long.map(({ pid, seconds, state }) => `process ${pid}, ${Math.floor(seconds)} s, ${state ?? 'unknown'}`),
      ),
      fix: `wait for them, or: ${long.map(({ pid }) => `SELECT pg_terminate_backend(${pid});`).join(' ')}`,
    },
  ];
}

/** `free`: of `most` connections, what a role without privileges may take. */
export function judgeConnections(
  { free, most }: { readonly free: number; readonly most: number },
  loadWorkers: number,
): Finding[] {
  const needed = loadWorkers + OTHER_SESSIONS;
  if (free >= needed) return [];
  return [
    {
      what: `too few free connections: ${needed} are needed`,
      evidence: `${free} of ${most} are free`,
      fix: `ALTER SYSTEM SET max_connections = ${most - free + needed + 10}; -- then restart the server; or lower targets[].loadWorkers`,
    },
  ];
}

/** How a database orders text and tells letters from others; '' where the server's version does not say it. */
export interface Collation {
  readonly collate: string;
  readonly ctype: string;
  readonly provider: string;
  readonly locale: string;
  readonly version: string;
}

/** Another order of text: indexes and queries answer otherwise, and ranges of text hold other rows. */
export function judgeCollation(theirs: Collation, ours: Collation): Finding[] {
  const says = ({ collate, ctype, provider, locale, version }: Collation): string =>
    `${collate}/${ctype}, provider ${provider}${locale === '' ? '' : ` ${locale}`}${version === '' ? '' : `, version ${version}`}`;
  if (says(ours) === says(theirs)) return [];
  const evidence = `${says(theirs)}; the source: ${says(ours)}`;
  if (says({ ...ours, version: '' }) === says({ ...theirs, version: '' }))
    return [
      {
        severity: 'info',
        what: 'the two servers sort text by different versions of a library: the order of a few characters may differ',
        evidence,
        fix: 'nothing for the rows, whose indexes are built at the target; compare reports that are sorted by text',
      },
    ];
  return [
    {
      severity: 'warn',
      what: 'the two databases sort text, or tell letters from others, by different rules',
      evidence,
      fix: "make the target database anew with the source's LC_COLLATE, LC_CTYPE and locale provider, TEMPLATE template0",
    },
  ];
}

/** Two sessions as the client knows them, and what the server says of each: PostgreSQL's process numbers. */
export interface SessionPair {
  readonly name: string;
  /** What the first one was told at its start. */
  readonly told: number;
  readonly first: number;
  readonly second: number;
}

/** PgBouncer and its kin make up the process number of a session, for who cancels a query asks them. */
export function judgePooler({ name, told, first, second }: SessionPair): Finding[] {
  if (first === second)
    return [
      {
        severity: 'block',
        what: "a pooler lends sessions for a transaction: locks, settings and snapshots of a session would be lost, or be another's",
        evidence: `${name}: two sessions are one process of the server, ${first}`,
        fix: 'name the server itself, or a port of the pooler that gives each client a session of its own (pool_mode = session)',
      },
    ];
  if (told === first) return [];
  return [
    {
      severity: 'warn',
      what: 'a pooler stands before the server: in its transaction mode locks and settings of a session are lost',
      evidence: `${name}: the session was told process ${told}, and is process ${first}`,
      fix: 'name the server itself; on services the port or host without pooler (5432 instead of 6543, the host without -pooler)',
    },
  ];
}

/** `sees`: whether the role may see what sessions of others do. */
export function judgeSight({
  name,
  role,
  sees,
}: {
  readonly name: string;
  readonly role: string;
  readonly sees: boolean;
}): Finding[] {
  if (sees) return [];
  return [
    {
      what: 'what other sessions do is hidden from the role: for how long their transactions have been open, which hold up a slot and the fence, is not seen',
      evidence: `${name}: the role ${role} is no member of pg_read_all_stats`,
      fix: `GRANT pg_read_all_stats TO ${role}; -- of pg_monitor, which administrators of managed services may give`,
    },
  ];
}
