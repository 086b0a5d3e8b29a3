import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { readJournal } from '#adapters/postgres/migration/migration-journal.ts';
import { readTableSizes } from '#adapters/postgres/source/table-sizes.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import {
  risksOf,
  switchesOf,
  type JoinedReport,
  type MigrationReport,
  type ReportTable,
  type TargetReport,
  type Told,
} from '#core/migration/migration-report.ts';
import { findOutput } from '#core/output-ref.ts';
import { togetherWith } from '#core/migration/together.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';
import { isChosen } from '#core/table-patterns.ts';
import { VERSION } from '#core/version.ts';
import { findTarget } from '../config-file.ts';
import { collectFindings } from '../check/check-command.ts';
import { withCheckContext } from '../check/check-context.ts';
import { migrationLine, readMigration, readStory } from '../migration/migration-line.ts';
import { readSchemaDiff } from '../schema-diff.ts';
import { connectTarget, readCheckpoint } from '../target-checkpoint.ts';
import { readRates } from './rates.ts';

/** Reads only. The target must be there, for its journal; what else cannot be had is named in its place. */
export async function collectReport(config: Config, target: TargetConfig, logger: Logger): Promise<MigrationReport> {
  const client = await connectTarget(config, target);
  try {
    const facts = await readMigration(client, config, target, await readCheckpoint(client, config.name));
    const { phase, live, next, canGoBack, together } = migrationLine(facts, null);
    const source = await tell(() => readSource(config));
    const { version, ...own } = await readTarget(client, config, target, source);
    const members = together ?? togetherWith(config, target).map(({ name }) => name);
    const report = {
      pipeline: config.name,
      madeAt: new Date().toISOString(),
      phase,
      live,
      next,
      canGoBack,
      versions: {
        restage: VERSION,
        node: process.version,
        source: 'missing' in source ? source.missing : source.version,
        target: version,
      },
      ...own,
      checks: await tell(() => withCheckContext(config, collectFindings)),
      rates: await tell(() => readRates(config, logger)),
      switches: switchesOf(await readStory(client, config, target)),
      joined: await readJoined(
        config,
        members.filter((name) => name !== target.name),
        source,
      ),
    };
    return { ...report, risks: risksOf(report) };
  } finally {
    await client.end();
  }
}

/** One that is away does not hide the others. */
async function readJoined(config: Config, names: readonly string[], source: Told<SourceTold>): Promise<JoinedReport[]> {
  const joined: JoinedReport[] = [];
  for (const name of names) {
    const told = await tell(async () => {
      const target = findTarget(config, name);
      const client = await connectTarget(config, target);
      try {
        return await readTarget(client, config, target, source);
      } finally {
        await client.end();
      }
    });
    joined.push('missing' in told ? { target: name, missing: told.missing } : told);
  }
  return joined;
}

async function readTarget(
  client: pg.Client,
  config: Config,
  target: TargetConfig,
  source: Told<SourceTold>,
): Promise<TargetReport> {
  const { tables: chosen = [] } = findOutput(config.outputs, target.output) ?? {};
  return {
    target: target.name,
    plan: planOf(config, target),
    version: await versionOf(client),
    tables: 'missing' in source ? [] : source.tables.filter(({ name }) => isChosen(name, chosen)).map(sizeOf),
    loadedRows: await loadedRows(client, config.name),
    structure: await tell(() => readSchemaDiff(config, target)),
    // The chain of hashes is held as it is read.
    audit: await readJournal(client, config.name),
  };
}

async function tell<T>(work: () => Promise<T>): Promise<Told<T>> {
  try {
    return await work();
  } catch (error) {
    return { missing: describeError(error) };
  }
}

interface SourceTold {
  readonly version: string;
  readonly tables: readonly SizedTable[];
}

interface SizedTable {
  readonly name: TableName;
  readonly rows: number;
  readonly bytes: number;
}

function sizeOf({ name, rows, bytes }: SizedTable): ReportTable {
  return { table: formatTable(name), rows, bytes };
}

async function readSource(config: Config): Promise<SourceTold> {
  const application = `restage ${config.name} report`;
  const client = await connectPg({ url: config.source.url, purpose: 'source', application });
  try {
    const chosen = await readChosenTables(client, config);
    const sizes = await readTableSizes(client, chosen);
    const tables = chosen.map((one) => ({
      name: { schema: one.schema, table: one.table },
      ...(sizes.get(tableKey(one)) ?? { rows: 0, bytes: 0 }),
    }));
    return { version: await versionOf(client), tables };
  } finally {
    await client.end();
  }
}

async function versionOf(client: pg.ClientBase): Promise<string> {
  const { rows } = await client.query<{ version: string }>(`SELECT current_setting('server_version') AS version`);
  return `PostgreSQL ${rows[0]?.version ?? '?'}`;
}

async function loadedRows(client: pg.ClientBase, pipeline: string): Promise<number> {
  const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.chunk_ledger')`);
  if (known.rowCount !== 1) return 0;
  const sql = 'SELECT coalesce(sum(rows), 0)::text AS rows FROM restage.chunk_ledger WHERE pipeline = $1';
  const { rows } = await client.query<{ rows: string }>(sql, [pipeline]);
  return Number(rows[0]?.rows ?? 0);
}

/** What the configuration says, without addresses and secrets (invariant 8). */
function planOf(config: Config, target: TargetConfig): [string, string][] {
  const output = findOutput(config.outputs, target.output);
  return [
    ['target', target.name],
    [
      'switched with',
      togetherWith(config, target)
        .map(({ name }) => name)
        .filter((name) => name !== target.name)
        .join(', ') || 'no other',
    ],
    ['tables', [...config.source.tables, ...(output?.tables ?? []).map((one) => `of them ${one}`)].join(', ')],
    ['slot', config.source.slot],
    ['publication', config.source.publication],
    ['profile', config.source.profile === null ? 'lossless' : 'debezium'],
    ['output', output === undefined ? 'the raw topics' : `${output.name}, version ${output.version}`],
    ['structure', target.schema],
    ...(output?.rules ?? []).map(({ table, rename }): [string, string] => [
      'rule',
      `${formatTable(table)}${rename === null ? '' : ` → ${formatTable(rename)}`}`,
    ]),
  ];
}
