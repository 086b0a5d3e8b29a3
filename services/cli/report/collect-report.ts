import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { readTableSizes } from '#adapters/postgres/source/table-sizes.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import {
  risksOf,
  switchesOf,
  type MigrationReport,
  type ReportTable,
  type Told,
} from '#core/migration/migration-report.ts';
import { findOutput } from '#core/output-ref.ts';
import { formatTable, tableKey } from '#core/table-name.ts';
import { VERSION } from '#core/version.ts';
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
    // The chain of hashes is held as each journal is read.
    const audit = await readStory(client, config, target);
    const facts = await readMigration(client, config, target, await readCheckpoint(client, config.name));
    const line = migrationLine(facts, null);
    const source = await tell(() => readSource(config));
    const own = {
      pipeline: config.name,
      target: target.name,
      madeAt: new Date().toISOString(),
      phase: line.phase,
      live: line.live,
      next: line.next,
      canGoBack: line.canGoBack,
      versions: {
        restage: VERSION,
        node: process.version,
        source: 'missing' in source ? source.missing : source.version,
        target: await versionOf(client),
      },
      plan: planOf(config, target),
      tables: 'missing' in source ? [] : source.tables,
      loadedRows: await loadedRows(client, config.name),
      checks: await tell(() => withCheckContext(config, collectFindings)),
      structure: await tell(() => readSchemaDiff(config, target)),
      rates: await tell(() => readRates(config, logger)),
      switches: switchesOf(audit),
      audit,
    };
    return { ...own, risks: risksOf(own) };
  } finally {
    await client.end();
  }
}

async function tell<T>(work: () => Promise<T>): Promise<Told<T>> {
  try {
    return await work();
  } catch (error) {
    return { missing: describeError(error) };
  }
}

async function readSource(config: Config): Promise<{ readonly version: string; readonly tables: ReportTable[] }> {
  const application = `restage ${config.name} report`;
  const client = await connectPg({ url: config.source.url, purpose: 'source', application });
  try {
    const chosen = await readChosenTables(client, config);
    const sizes = await readTableSizes(client, chosen);
    const tables = chosen.map((one) => ({
      table: formatTable(one),
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
    ['tables', config.source.tables.join(', ')],
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
