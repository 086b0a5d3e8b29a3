import { randomUUID } from 'node:crypto';
import { InvalidArgumentError, type Command } from 'commander';
import type { Config } from '#core/config.ts';
import { snapshotKey } from '#core/control.ts';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';
import { controlTopic } from '#core/topic-names.ts';
import { confirm } from './ask.ts';
import { readConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import { writeSnapshotRequest } from './snapshot-requests.ts';
import { formatColumns } from './table-text.ts';

interface SnapshotOptions {
  readonly config: string;
  readonly table: readonly string[];
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

/** A table to be loaded anew, with what the source's statistics say of its size. */
interface SizedTable extends TableName {
  readonly rows: number;
  readonly bytes: number;
}

export function registerSnapshot(program: Command, cli: CliEnvironment): void {
  program
    .command('snapshot')
    .description('loads tables anew while the stream goes on: asks the producer for it, and does not wait')
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--table <schema.table>', 'a captured table; may be repeated', collectTables, [])
    .option('--dry-run', 'says what would be loaded and does nothing', false)
    .option('--yes', 'does not ask', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: SnapshotOptions) => {
      const config = await readConfig(options.config, cli.env);
      requireOwnSource(config, 'snapshot');
      const tables = await findTables(config, options.table);
      if (!options.json) cli.out(describe(tables));
      const isWanted =
        !options.dryRun &&
        (options.yes ||
          (await confirm('Load these tables anew in every target? [y/N] ', { command: 'restage snapshot' }, cli)));
      const id = isWanted ? await request(config, tables, cli) : null;
      if (options.json)
        cli.out(`${JSON.stringify({ dryRun: options.dryRun, request: id, tables: tables.map(toJson) })}\n`);
      else if (id !== null) cli.out(`asked for (${id}); restage status says how far it is\n`);
      else if (!options.dryRun) cli.err('nothing was asked for\n');
      cli.setExitCode(id !== null || options.dryRun ? 0 : 1);
    });
}

function collectTables(text: string, before: readonly string[]): readonly string[] {
  if (!/^[^.]+\../.test(text)) throw new InvalidArgumentError('write it as schema.table.');
  return [...before, text];
}

async function findTables(config: Config, names: readonly string[]): Promise<SizedTable[]> {
  const [{ connectPg }, { readChosenTables }, { readTableSizes }] = await Promise.all([
    import('#adapters/postgres/session.ts'),
    import('#adapters/postgres/catalog.ts'),
    import('#adapters/postgres/source/table-sizes.ts'),
  ]);
  const client = await connectPg({
    url: config.source.url,
    purpose: 'source',
    application: `restage ${config.name} cli`,
  });
  try {
    const chosen = await readChosenTables(client, config);
    const tables = names.map((name) => findTable(chosen, name));
    const sizes = await readTableSizes(client, tables);
    return tables.map(({ schema, table }) => ({
      schema,
      table,
      ...(sizes.get(tableKey({ schema, table })) ?? { rows: 0, bytes: 0 }),
    }));
  } finally {
    await client.end();
  }
}

/** By its plain name, or as SQL would want it quoted. @throws RestageError table_not_found. */
function findTable(chosen: readonly TableStructure[], name: string): TableStructure {
  const found = chosen.find((table) => `${table.schema}.${table.table}` === name || formatTable(table) === name);
  if (found !== undefined) return found;
  throw new RestageError('table_not_found', `${name} is none of the tables that source.tables chooses`, {
    where: `--table ${name}`,
    fix: 'write it as schema.table, as the source has it',
  });
}

async function request(config: Config, tables: readonly TableName[], cli: CliEnvironment): Promise<string> {
  const { appendRecord } = await import('#adapters/kafka/keyed-topic.ts');
  const { ensureControlTopic, openControlPool } = await import('./control-topic.ts');
  const { noteAction } = await import('./migration/audit.ts');
  const logger = makeLogger(cli.env, cli.isTerminal);
  const pool = openControlPool(config, logger);
  const id = randomUUID().slice(0, 8);
  try {
    await ensureControlTopic(config, pool);
    await appendRecord(pool, controlTopic(config.name), snapshotKey(id), writeSnapshotRequest({ id, tables }));
    const given = { request: id, tables: tables.map(formatTable).join(', ') };
    await noteAction(config, config.targets, { action: 'snapshot', with: given }, logger);
  } finally {
    await pool.close();
  }
  return id;
}

function describe(tables: readonly SizedTable[]): string {
  return formatColumns(
    ['table', 'rows (about)', 'bytes'],
    tables.map((one) => [formatTable(one), String(one.rows), String(one.bytes)]),
  );
}

function toJson({ schema, table, rows, bytes }: SizedTable): object {
  return { schema, table, rows, bytes };
}
