import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { findElsewhere, readHolders } from '#adapters/postgres/migration/guard.ts';
import { findMissingRight } from '#adapters/postgres/migration/side-state.ts';
import { findUnrefreshable } from '#adapters/postgres/migration/target-care.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { readSlot } from '#adapters/postgres/source/slot.ts';
import { mayActAsReplica } from '#adapters/postgres/target/apply-session.ts';
import { DeadLetterStore, hasDeadLetters } from '#adapters/postgres/target/dead-letter-store.ts';
import { findReplay } from '#adapters/postgres/target/replay-state.ts';
import { requireFitting } from '#adapters/postgres/target/target-tables.ts';
import { startDeadline } from '#core/deadline.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn } from '#core/lsn.ts';
import type { MigrationState } from '#core/migration/state.ts';
import { findOutput } from '#core/output-ref.ts';
import { shapeTables } from '#core/rules/shape-tables.ts';
import { formatTable, quoteTable, type TableName } from '#core/table-name.ts';
import { pause } from '#core/backoff.ts';
import { setSequences } from '../sequence-plan.ts';
import { markCurrentLsn } from '../source-figures.ts';
import { waitForLsn } from '../wait.ts';
import { endsOf, type Ends, type Line, type Migration } from './ends.ts';
import { readStreamLife } from './stream-life.ts';

/** What speaks against a switch now. */
export interface Objection {
  readonly what: string;
  readonly fix: string;
}

export interface GuardOptions {
  readonly migration: Migration;
  readonly to: Ends['to'];
  readonly state: MigrationState;
  readonly wayBack: boolean;
  readonly terminates: boolean;
  /** A comparison that is older does not count. Milliseconds. */
  readonly verifiedWithinMs: number;
  readonly logger: Logger;
  readonly clock: () => number;
  readonly signal: AbortSignal;
}

/** A line that does not bring a barrier through within this has a backlog. */
const LAG_MS = 15_000;
const POLL_MS = 100;
/** A transaction that has held a table for longer will hold up the fence too. */
const LONG_S = 30;

/** All of them, each asked for by itself; one that cannot be asked is an objection. */
export async function findObjections(options: GuardOptions): Promise<Objection[]> {
  const ends = endsOf(options.migration, options.to);
  const [from, to] = await connectBoth(ends);
  const ask = async (work: () => Promise<readonly Objection[]>): Promise<readonly Objection[]> => {
    try {
      return await work();
    } catch (error) {
      options.signal.throwIfAborted();
      return [
        {
          what: describeError(error),
          fix: (error instanceof RestageError ? error.fix : undefined) ?? 'see the message',
        },
      ];
    }
  };
  try {
    const found: Objection[] = [];
    for (const work of [
      () => notVerified(options),
      () => deadLetters(ends, to),
      () => replays(ends, to),
      () => rights(options, ends, from, to),
      () => sequences(options, ends, from, to),
      () => elsewhere(options, ends, from),
      () => objects(options, ends, from),
      () => views(options, ends, to),
      () => transactions(options, ends, from),
      () => drift(ends, from, to),
      () => slots(options, ends, from, to),
      () => backlog(ends, options),
      () => noWayBack(options, ends, from),
    ])
      found.push(...(await ask(work)));
    return found;
  } finally {
    await Promise.allSettled([from.end(), to.end()]);
  }
}

/** @throws RestageError switch_refused that names all of them. */
export function requireNone(objections: readonly Objection[], live: Ends['from']): void {
  if (objections.length === 0) return;
  throw new RestageError(
    'switch_refused',
    `${objections.length} ${objections.length === 1 ? 'thing speaks' : 'things speak'} against a switch now`,
    {
      where: `nothing was changed: the ${live} is live`,
      fix: objections.map(({ what, fix }) => `\n    - ${what}: ${fix}`).join(''),
    },
  );
}

async function connectBoth({ feeding }: Ends): Promise<[pg.Client, pg.Client]> {
  const application = `restage ${feeding.config.name} operator look`;
  const from = await connectPg({ url: feeding.config.source.url, purpose: 'source', application });
  try {
    return [from, await connectPg({ url: feeding.target.url, purpose: 'target', application })];
  } catch (error) {
    await from.end();
    throw error;
  }
}

async function notVerified({ state, to, verifiedWithinMs, clock, migration }: GuardOptions): Promise<Objection[]> {
  if (to === 'source') return [];
  const fix = `restage verify --target ${migration.there.target.name}`;
  const { verified } = state;
  if (verified === null) return [{ what: 'the rows were never verified', fix }];
  if (verified.verdict !== 'equal')
    return [{ what: `the last verify, of ${verified.at}, said: ${verified.verdict}`, fix }];
  const age = clock() - Date.parse(verified.at);
  if (age <= verifiedWithinMs) return [];
  return [{ what: `the last verify is of ${verified.at}, ${Math.round(age / 60_000)} minutes ago`, fix }];
}

async function deadLetters({ feeding, to }: Ends, client: pg.Client): Promise<Objection[]> {
  if (!(await hasDeadLetters(client))) return [];
  const { waiting, heldKeys } = await new DeadLetterStore(client, feeding.config.name).counts();
  if (waiting === 0 && heldKeys === 0) return [];
  return [
    {
      what: `${waiting} dead letters wait at the ${to}, and changes of ${heldKeys} rows behind them`,
      fix: 'restage dlq list',
    },
  ];
}

async function replays({ feeding }: Ends, client: pg.Client): Promise<Objection[]> {
  const replay = await findReplay(client, feeding.config.name);
  if (replay === null || (replay.isFinished && replay.bound === null)) return [];
  return [{ what: 'a replay has the target, or has left it at a bound', fix: 'end it: restage status says how' }];
}

async function rights(
  { migration }: GuardOptions,
  { from, to }: Ends,
  x: pg.Client,
  y: pg.Client,
): Promise<Objection[]> {
  const found: Objection[] = [];
  for (const [side, client] of [
    [from, x],
    [to, y],
  ] as const) {
    const missing = await findMissingRight(client);
    if (missing !== null)
      found.push({ what: `the ${side}'s role may not keep the migration's state in schema restage`, fix: missing.fix });
    for (const [privilege, why] of [
      ['UPDATE', 'to lock them in the fence'],
      ['TRIGGER', 'to guard them'],
    ] as const) {
      const { tables, role } = await without(client, migration.tables[side], privilege);
      if (tables.length > 0)
        found.push({
          what: `the ${side}'s role may not ${privilege} ${tables.length} tables, ${why}: ${tables.slice(0, 5).map(formatTable).join(', ')}`,
          fix: `GRANT ${privilege} ON ${tables.map(quoteTable).join(', ')} TO ${role};`,
        });
    }
  }
  return found;
}

/** Those that the switch would set, and a rollback after it. */
async function sequences(
  { wayBack }: GuardOptions,
  { from, to }: Ends,
  x: pg.Client,
  y: pg.Client,
): Promise<Objection[]> {
  const found: Objection[] = [];
  const there = { side: to, theirs: x, ours: y };
  const back = { side: from, theirs: y, ours: x };
  for (const { side, theirs, ours } of wayBack && to === 'target' ? [there, back] : [there]) {
    const steps = await setSequences(theirs, ours, { margin: 1n, isDryRun: true });
    const moved = steps.filter(({ change }) => change === 'set');
    const { tables, role } = await without(ours, moved, 'UPDATE');
    if (tables.length > 0)
      found.push({
        what: `the ${side}'s role may not set ${tables.length} sequences${side === to ? '' : ', as a rollback would'}: ${tables.slice(0, 5).map(formatTable).join(', ')}`,
        fix: `GRANT UPDATE ON SEQUENCE ${tables.map(quoteTable).join(', ')} TO ${role};`,
      });
  }
  return found;
}

/** Asked once more under the fence's locks. */
async function elsewhere({ migration }: GuardOptions, { from }: Ends, client: pg.Client): Promise<Objection[]> {
  const found = await findElsewhere(client, migration.keys[from], migration.tables[from]);
  if (found.length === 0) return [];
  return [
    {
      what: `${found.length} tables are live at another target of this pipeline: ${found.slice(0, 5).map(formatTable).join(', ')}`,
      fix: 'each table has one live side: give targets that are switched tables of their own, by outputs[].tables',
    },
  ];
}

/** Which of several targets a large object belongs to nobody knows: two of them would bring each other's changes back. */
async function objects({ migration }: GuardOptions, { from }: Ends, client: pg.Client): Promise<Objection[]> {
  const takers = migration.there.config.targets.filter(({ largeObjects }) => largeObjects !== 'leave');
  if (takers.length < 2 || from === 'target') return [];
  const there = await client.query('SELECT FROM pg_largeobject_metadata LIMIT 1');
  if (there.rowCount === 0) return [];
  return [
    {
      what: `several targets would take the source's large objects: ${takers.map(({ name }) => name).join(', ')}`,
      fix: 'targets[].largeObjects: leave, at all of them but one',
    },
  ];
}

/** A materialized view that nobody makes anew answers with rows of long ago. */
async function views({ migration }: GuardOptions, { to }: Ends, client: pg.Client): Promise<Objection[]> {
  const refused = await findUnrefreshable(client, migration.tables[to]);
  if (refused.length === 0) return [];
  return [
    {
      what: `the ${to}'s role may not refresh ${refused.length} materialized views: ${refused.slice(0, 5).map(formatTable).join(', ')}`,
      fix: 'GRANT the role that owns them to it (PostgreSQL 17 and newer: GRANT MAINTAIN ON them), or drop them',
    },
  ];
}

async function without(
  client: pg.Client,
  tables: readonly TableName[],
  privilege: string,
): Promise<{ tables: TableName[]; role: string }> {
  const { rows } = await client.query<TableName>(
    `SELECT n.nspname AS schema, c.relname AS table FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
      WHERE NOT has_table_privilege(c.oid, $3)`,
    [tables.map((table) => table.schema), tables.map((table) => table.table), privilege],
  );
  const role = await client.query<{ role: string }>('SELECT quote_ident(current_user) AS role');
  return { tables: rows, role: role.rows[0]?.role ?? '' };
}

async function transactions(
  { migration, terminates }: GuardOptions,
  { from }: Ends,
  client: pg.Client,
): Promise<Objection[]> {
  const prepared = await client.query<{ gid: string }>(
    'SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared',
  );
  const found: Objection[] = prepared.rows.map(({ gid }) => ({
    what: `a prepared transaction holds the ${from}: ${JSON.stringify(gid)}`,
    fix: 'COMMIT PREPARED or ROLLBACK PREPARED it',
  }));
  if (terminates) return [...found, ...(await mayNotEnd(client, from))];
  for (const { pid, who, seconds, table } of await readHolders(client, migration.tables[from]))
    if (pid !== null && seconds !== null && seconds > LONG_S)
      found.push({
        what: `session ${pid} (${who}) has written to ${table} in a transaction that is open for ${seconds.toFixed(0)} s`,
        fix: 'wait for it, end it, or give --terminate',
      });
  return found;
}

/** `--terminate` would find out in the fence. */
async function mayNotEnd(client: pg.Client, side: Ends['from']): Promise<Objection[]> {
  const [row] = (
    await client.query<{ role: string; may: boolean }>(
      `SELECT quote_ident(current_user) AS role, pg_has_role(current_user, 'pg_signal_backend', 'usage') AS may`,
    )
  ).rows;
  if (row === undefined || row.may) return [];
  return [
    {
      what: `the ${side}'s role may not end sessions of others, as --terminate would`,
      fix: `GRANT pg_signal_backend TO ${row.role}; or go without --terminate`,
    },
  ];
}

/** What is moved still fits the tables there. */
async function drift({ feeding }: Ends, x: pg.Client, y: pg.Client): Promise<Objection[]> {
  const { config, target } = feeding;
  const tables = shapeTables(await readChosenTables(x, config), findOutput(config.outputs, target.output));
  await requireFitting(y, tables);
  return [];
}

async function slots(
  { wayBack }: GuardOptions,
  { feeding, returning, from, to }: Ends,
  x: pg.Client,
  y: pg.Client,
): Promise<Objection[]> {
  const found: Objection[] = [];
  const look = async (client: pg.Client, { config }: Line, side: string): Promise<void> => {
    const slot = await readSlot(client, config.source.slot);
    if (slot === null)
      found.push({ what: `the ${side} has no slot ${config.source.slot}`, fix: `start pipeline ${config.name}` });
    else if (slot.isLost)
      found.push({ what: `the ${side}'s server gave up slot ${config.source.slot}`, fix: 'docs/faults.md' });
  };
  await look(x, feeding, from);
  if (wayBack) await look(y, returning, to);
  return found;
}

async function backlog({ feeding, to }: Ends, { signal }: GuardOptions): Promise<Objection[]> {
  const lsn = await markCurrentLsn(feeding.config);
  const deadline = startDeadline(LAG_MS, signal);
  const { isReached, checkpoint } = await waitForLsn(feeding.config, feeding.target, lsn, deadline.signal).finally(() =>
    deadline.cancel(),
  );
  if (isReached) return [];
  const where =
    checkpoint === null
      ? 'has no position'
      : `is at ${checkpoint.through}, load ${checkpoint.isLoadDone ? 'done' : 'not done'}`;
  return [
    {
      what: `the ${to} ${where}, and did not come to ${formatLsn(lsn)} within ${LAG_MS / 1_000} s`,
      fix: 'restage status, restage wait',
    },
  ];
}

async function noWayBack(
  { migration, wayBack, logger, signal }: GuardOptions,
  { returning, from }: Ends,
  x: pg.Client,
): Promise<Objection[]> {
  if (!wayBack) return [];
  const found: Objection[] =
    from === 'target'
      ? []
      : migration.back.lost.map(({ table, why }) => ({
          what: `${formatTable(table)} could not be kept current at the source after the switch: ${why}`,
          fix: 'change its rule, or switch without a way back: --no-way-back',
        }));
  if (!(await mayActAsReplica(x))) {
    const { rows } = await x.query<{ role: string }>('SELECT quote_ident(current_user) AS role');
    found.push({
      what: `the ${from}'s role may not set session_replication_role, and its triggers would act on what comes back`,
      fix: `PostgreSQL 15 and newer: GRANT SET ON PARAMETER session_replication_role TO ${rows[0]?.role ?? ''}; or --no-way-back`,
    });
  }
  const lsn = await markCurrentLsn(returning.config);
  const start = migration.there.target.name;
  for (const deadline = Date.now() + LAG_MS; ; await pause(POLL_MS, signal)) {
    signal.throwIfAborted();
    const life = await readStreamLife(returning, logger);
    if (life !== null && life.through >= lsn) return found;
    if (Date.now() < deadline) continue;
    const fix =
      from === 'source'
        ? `restage reverse -c ${migration.there.config.file} --target ${start}, and leave it running`
        : 'start the pipeline: restage run';
    return [
      ...found,
      {
        what:
          life === null
            ? `pipeline ${returning.config.name} does not run`
            : `pipeline ${returning.config.name} does not keep up`,
        fix,
      },
    ];
  }
}
