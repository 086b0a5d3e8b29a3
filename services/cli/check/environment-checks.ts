import type pg from 'pg';
import { connectPg } from '#adapters/postgres/session.ts';
import { formatTable, quoteTable, type TableName } from '#core/table-name.ts';
import type { CheckContext } from './check-context.ts';
import { CHOSEN, namesOf } from './chosen-tables.ts';
import { listSome, statementsText, type Check, type Finding } from './finding.ts';
import { judgeAge, judgeClock, judgePooler, judgeRoundTrip, judgeSight, type Probed } from './judge-servers.ts';

const PROBES = 5;

/** Clocks and distances, how much there is to move, and who works with the source today. */
export const ENVIRONMENT_CHECKS: readonly Check[] = [
  { id: 'servers.clock', severity: 'warn', run: eachProbe(judgeClock) },
  { id: 'servers.round_trip', severity: 'warn', run: eachProbe(judgeRoundTrip) },
  { id: 'servers.pooler', severity: 'block', run: checkPoolers },
  { id: 'servers.sessions', severity: 'warn', run: checkSight },
  { id: 'servers.collation_versions', severity: 'warn', run: checkCollationVersions },
  { id: 'scope.size', severity: 'info', run: checkSize },
  { id: 'scope.statistics', severity: 'info', run: checkStatistics },
  { id: 'source.wraparound', severity: 'warn', run: checkWraparound },
  { id: 'source.clients', severity: 'info', run: checkClients },
  { id: 'source.query_figures', severity: 'info', run: checkQueryFigures },
  { id: 'source.neighbours', severity: 'warn', run: checkNeighbours },
];

interface ProbedServer {
  readonly name: string;
  readonly purpose: 'source' | 'target';
  readonly url: string;
  readonly client: pg.Client;
  readonly major: number;
}

function serversOf({ source, sourceMajor, targets, config }: CheckContext): ProbedServer[] {
  return [
    { name: 'source', purpose: 'source', url: config.source.url, client: source, major: sourceMajor },
    ...targets.map(({ config: target, client, major }) => ({
      name: `target ${target.name}`,
      purpose: 'target' as const,
      url: target.url,
      client,
      major,
    })),
  ];
}

/** The shortest of a few: the others waited for something else too. */
async function probe({ name, client }: ProbedServer): Promise<Probed> {
  const probes: Probed[] = [];
  for (let turn = 0; turn < PROBES; turn += 1) {
    const sent = performance.now();
    const at = Date.now();
    const [row] = (
      await client.query<{ ms: string }>('SELECT (extract(epoch FROM clock_timestamp()) * 1000)::text AS ms')
    ).rows;
    const roundTripMs = performance.now() - sent;
    probes.push({ name, roundTripMs, skewMs: Number(row?.ms ?? at) - (at + roundTripMs / 2) });
  }
  return probes.reduce((best, one) => (one.roundTripMs < best.roundTripMs ? one : best));
}

function eachProbe(judge: (probed: Probed) => Finding[]): Check['run'] {
  return async (context) => {
    const findings: Finding[] = [];
    for (const server of serversOf(context)) findings.push(...judge(await probe(server)));
    return findings;
  };
}

async function pidOf(client: pg.Client): Promise<number> {
  const [row] = (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows;
  return row?.pid ?? 0;
}

/** One session stays open beside another: only a pooler gives both the same process. */
async function checkPoolers(context: CheckContext): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, purpose, url, client } of serversOf(context)) {
    const other = await connectPg({ url, purpose, application: `restage ${context.config.name} check` });
    try {
      const told = toldPid(client);
      const [first, second] = [await pidOf(client), await pidOf(other)];
      findings.push(...judgePooler({ name, told: told ?? first, first, second }));
    } finally {
      await other.end();
    }
  }
  return findings;
}

/** The process number that came with the session's start (PostgreSQL: "BackendKeyData"). The driver keeps it, and its types do not tell. */
function toldPid(client: pg.Client): number | null {
  return 'processID' in client && typeof client.processID === 'number' ? client.processID : null;
}

async function checkSight(context: CheckContext): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, client } of serversOf(context)) {
    const [row] = (
      await client.query<{ role: string; sees: boolean }>(
        `SELECT quote_ident(current_user) AS role, pg_has_role(current_user, 'pg_read_all_stats', 'usage') AS sees`,
      )
    ).rows;
    if (row !== undefined) findings.push(...judgeSight({ name, ...row }));
  }
  return findings;
}

interface OldCollation {
  readonly name: string;
  readonly said: string;
  readonly actual: string;
  readonly fix: string;
}

/** The database's own since version 15. */
const OLD_DATABASE = `SELECT 'the database' AS name, d.datcollversion AS said, pg_database_collation_actual_version(d.oid) AS actual,
       format('ALTER DATABASE %I REFRESH COLLATION VERSION;', d.datname) AS fix
  FROM pg_database d WHERE d.datname = current_database() AND d.datcollversion <> pg_database_collation_actual_version(d.oid) UNION ALL `;
const OLD_COLLATIONS = `SELECT 'collation ' || c.oid::regcollation::text, c.collversion, pg_collation_actual_version(c.oid),
       format('ALTER COLLATION %s REFRESH VERSION;', c.oid::regcollation)
  FROM pg_collation c WHERE c.collversion <> pg_collation_actual_version(c.oid)`;

/** The library that orders text is another than when indexes were built: they may not find what they hold (PostgreSQL: "ALTER COLLATION"). */
async function checkCollationVersions(context: CheckContext): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, client, major } of serversOf(context)) {
    const sql = `SELECT * FROM (${major >= 15 ? OLD_DATABASE : ''}${OLD_COLLATIONS}) AS old(name, said, actual, fix) ORDER BY 1 DESC`;
    const { rows } = await client.query<OldCollation>(sql);
    if (rows.length === 0) continue;
    const [row] = (await client.query<{ name: string }>('SELECT quote_ident(current_database()) AS name')).rows;
    findings.push({
      what: 'text is ordered by another version of the library than indexes were built with: they may miss rows, and unique ones let rows pass twice',
      evidence: `${name}: ${listSome(rows.map((old) => `${old.name} ${old.said}, now ${old.actual}`))}`,
      fix: [`REINDEX DATABASE CONCURRENTLY ${row?.name ?? ''};`, ...rows.map((old) => old.fix)].join('\n'),
    });
  }
  return findings;
}

async function checkSize({ source, tables }: CheckContext): Promise<Finding[]> {
  const [row] = (
    await source.query<{ bytes: string; indexes: string; rows: string; largest: string }>(
      `SELECT pg_size_pretty(coalesce(sum(pg_table_size(c.oid)), 0)) AS bytes, pg_size_pretty(coalesce(sum(pg_indexes_size(c.oid)), 0)) AS indexes,
              coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint::text AS rows,
              coalesce((array_agg(format('%I.%I %s', t.schema, t.name, pg_size_pretty(pg_table_size(c.oid))) ORDER BY pg_table_size(c.oid) DESC))[1], '') AS largest ${CHOSEN}`,
      namesOf(tables),
    )
  ).rows;
  if (row === undefined) return [];
  return [
    {
      what: `${tables.length} tables are to be moved`,
      evidence: `${row.bytes} of rows, about ${row.rows} of them, ${row.indexes} of indexes; the largest: ${row.largest}`,
      fix: 'see that Kafka has room for the rows and for every change since, and each target for rows, indexes and its own WAL',
    },
  ];
}

async function checkStatistics({ source, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName>(
    `SELECT t.schema, t.name AS table ${CHOSEN} JOIN pg_stat_all_tables s ON s.relid = c.oid
      WHERE c.relkind = 'r' AND s.last_analyze IS NULL AND s.last_autoanalyze IS NULL AND pg_table_size(c.oid) > 8192 ORDER BY 1, 2`,
    namesOf(tables),
  );
  if (rows.length === 0) return [];
  const statements = [`ANALYZE ${rows.map(quoteTable).join(', ')}`];
  return [
    {
      what: 'tables without statistics: their size is a guess, and so is the time that is left',
      evidence: listSome(rows.map(formatTable)),
      fix: statementsText(statements),
      safeFix: { at: 'source', statements },
    },
  ];
}

async function checkWraparound({ source }: CheckContext): Promise<Finding[]> {
  const [row] = (
    await source.query<{ age: number }>(
      'SELECT age(datfrozenxid) AS age FROM pg_database WHERE datname = current_database()',
    )
  ).rows;
  return row === undefined ? [] : judgeAge(row.age);
}

/** Who must be told, and stopped, at the switch. What they do is not looked at. */
async function checkClients({ source }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<{ who: string; n: number }>(
    `SELECT concat_ws(' ', usename, 'from', coalesce(host(client_addr), 'the server itself'), nullif('(' || application_name || ')', '()')) AS who, count(*)::int AS n
       FROM pg_stat_activity WHERE datname = current_database() AND coalesce(backend_type = 'client backend', usesysid IS NOT NULL) AND pid <> pg_backend_pid()
        AND application_name !~ '^restage ' GROUP BY 1 ORDER BY 2 DESC, 1`,
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'these work with the source now: each must go elsewhere at the switch',
          evidence: listSome(rows.map((row) => `${row.n} × ${row.who}`)),
          fix: 'list every client, also those that connect at night, with how each is told of the new address',
        },
      ];
}

async function checkQueryFigures({ source }: CheckContext): Promise<Finding[]> {
  const there = await source.query("SELECT FROM pg_extension WHERE extname = 'pg_stat_statements'");
  return there.rowCount !== 0
    ? []
    : [
        {
          what: 'no figures of queries are kept: whether they are slower after the switch cannot be compared',
          evidence: 'the extension pg_stat_statements is not installed in the source',
          fix: "CREATE EXTENSION pg_stat_statements; -- with shared_preload_libraries = 'pg_stat_statements'",
        },
      ];
}

/** Others that read the source's changes, or act in it by themselves. */
async function checkNeighbours({ source, config }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<{ what: string }>(
    `SELECT 'slot ' || slot_name || ' (' || plugin || ')' AS what FROM pg_replication_slots WHERE database = current_database() AND slot_name <> $1 AND NOT temporary
      UNION ALL SELECT 'publication ' || pubname || CASE WHEN puballtables THEN ' FOR ALL TABLES' ELSE '' END FROM pg_publication WHERE pubname <> $2
      UNION ALL SELECT 'extension ' || extname FROM pg_extension WHERE extname IN ('pg_cron', 'pgmq', 'pg_partman', 'timescaledb', 'citus', 'pglogical', 'spock', 'pgq')
      ORDER BY 1`,
    [config.source.slot, config.source.publication],
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'others read this database too, or act in it by themselves: each needs its place at the new one, and none may run on both',
          evidence: listSome(rows.map((row) => row.what)),
          fix: 'hand each of them over at the switch: position, jobs, queues',
        },
      ];
}
