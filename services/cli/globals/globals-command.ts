import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { readDatabaseSettings, readGrants } from '#adapters/postgres/global-grants.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { dumpGlobals, findPgTools } from '#adapters/postgres/target/pg-dump.ts';
import { majorOf } from '#adapters/postgres/target/structure-archive.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { ExitCode } from '#core/error-policy.ts';
import { describeError } from '#core/errors.ts';
import { missingGlobals, parseGlobals, withoutPassword, type GlobalStatement } from '#core/globals.ts';
import { findOutput } from '#core/output-ref.ts';
import { tableKey } from '#core/table-name.ts';
import { confirm } from '../ask.ts';
import type { CliEnvironment } from '../environment.ts';
import { makeLogger } from '../logger.ts';
import { noteAction } from '../migration/audit.ts';
import { connectTarget } from '../target-checkpoint.ts';
import { compileTables } from '../verify/shaped-table.ts';

export interface GlobalsOptions {
  readonly withPasswords: boolean;
  readonly isDryRun: boolean;
  readonly isConfirmed: boolean;
  readonly json: boolean;
}

interface Failed {
  readonly sql: string;
  readonly why: string;
}

/** `restage globals`: 0 when all is there, 1 when something was refused or not confirmed. May be run again at any time. */
export async function globalsCommand(
  config: Config,
  target: TargetConfig,
  options: GlobalsOptions,
  cli: CliEnvironment,
): Promise<ExitCode> {
  const client = await connectTarget(config, target);
  try {
    const { rows } = await client.query<{ name: string; roles: string[] }>(
      'SELECT current_database()::text AS name, ARRAY(SELECT rolname::text FROM pg_roles) AS roles',
    );
    const [there = { name: '', roles: [] }] = rows;
    const wanted = await readWanted(config, target, options.withPasswords, there.name);
    const left = missingGlobals(wanted, new Set(there.roles));
    if (!options.json) cli.out(left.map(({ sql }) => `${withoutPassword(sql)}\n`).join(''));
    if (options.isDryRun) return answer(left, [], false, options, cli);
    if (
      !options.isConfirmed &&
      !(await confirm('run these statements at the target? (y/n) ', { command: 'restage globals' }, cli))
    ) {
      cli.err('nothing was changed\n');
      return 1;
    }
    const given = { statements: left.length, withPasswords: options.withPasswords };
    await noteAction(config, [target], { action: 'globals', with: given }, makeLogger(cli.env, cli.isTerminal));
    return answer(left, await apply(client, left), true, options, cli);
  } finally {
    await client.end();
  }
}

async function readWanted(
  config: Config,
  target: TargetConfig,
  withPasswords: boolean,
  database: string,
): Promise<GlobalStatement[]> {
  const application = `restage ${config.name} schema`;
  const client = await connectPg({ url: config.source.url, purpose: 'source', application });
  try {
    const tools = await findPgTools(await majorOf(client));
    const roles = parseGlobals(await dumpGlobals(tools, config.source.url, withPasswords));
    const output = findOutput(config.outputs, target.output);
    const tables = await readChosenTables(client, config);
    const branches = new Map(
      compileTables(tables, output).map(({ source, branches: own }) => [tableKey(source), own[0]] as const),
    );
    const places = tables.flatMap((source) => {
      const shaped = branches.get(tableKey(source))?.shaped;
      return shaped === undefined ? [] : [{ source, target: shaped }];
    });
    const grants = await readGrants(
      client,
      places,
      (table, column) => branches.get(tableKey(table))?.nameOf(column) ?? column,
    );
    return [...roles, ...(await readDatabaseSettings(client, database)), ...grants];
  } finally {
    await client.end();
  }
}

/** Each by itself: what the target's role may not do is told, and the rest is done. */
async function apply(client: pg.ClientBase, statements: readonly GlobalStatement[]): Promise<Failed[]> {
  const failed: Failed[] = [];
  for (const { sql } of statements) {
    try {
      await client.query(sql);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error)) throw error;
      failed.push({ sql: withoutPassword(sql), why: withoutPassword(describeError(error)) });
    }
  }
  return failed;
}

function answer(
  statements: readonly GlobalStatement[],
  failed: readonly Failed[],
  isDone: boolean,
  { json }: GlobalsOptions,
  cli: CliEnvironment,
): ExitCode {
  const shown = statements.map(({ kind, role, sql }) => ({ kind, role, sql: withoutPassword(sql) }));
  if (json) cli.out(`${JSON.stringify({ done: isDone, statements: shown, failed })}\n`);
  else {
    for (const { sql, why } of failed) cli.err(`refused: ${sql}\n         ${why}\n`);
    if (isDone) cli.out(`${statements.length - failed.length} of ${statements.length} statements were run\n`);
  }
  return failed.length === 0 ? 0 : 1;
}
