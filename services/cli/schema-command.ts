import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { openSchemaBuild, openTargetSchema } from '#adapters/postgres/target/open-target-schema.ts';
import { storeArchive } from '#adapters/postgres/target/structure-archive.ts';
import { SchemaJournal } from '#adapters/postgres/target/schema-journal.ts';
import { requireAbsent } from '#adapters/postgres/target/target-tables.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { ExitCode } from '#core/error-policy.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import { declarationOf } from '#core/module/module-config.ts';
import { copyRules } from '#core/module/module-tables.ts';
import { findOutput } from '#core/output-ref.ts';
import { shapeTables } from '#core/rules/shape-tables.ts';
import type { TableStructure } from '#core/structure.ts';
import { findTarget } from './config-file.ts';
import { connectTarget, readCheckpoint } from './target-checkpoint.ts';

export interface SchemaCopyArguments {
  readonly target: string;
  readonly section: 'pre-data' | 'post-data';
}

/**
 * `restage schema copy`: tables before their rows, or keys, indexes, foreign keys and triggers after them, whatever
 * `targets[].schema` says. Both go on where an earlier call stopped. What would act on a sink's work waits for `schema finish` where
 * there is a sink.
 */
export async function runSchemaCopy(config: Config, args: SchemaCopyArguments): Promise<ExitCode> {
  const target = findTarget(config, args.target);
  const output = findOutput(config.outputs, target.output);
  const schema = openTargetSchema({
    pipeline: config.name,
    target: { ...target, schema: 'copy' },
    rules: output === undefined ? [] : copyRules(output.rules, declarationOf(output)),
    failpoints: NO_FAILPOINTS,
  });
  if (args.section === 'post-data') {
    await schema.postLoad();
    await schema.whenCaughtUp();
    if (!(await hasSink(config, target)))
      await openSchemaBuild({ pipeline: config.name, target, failpoints: NO_FAILPOINTS }).finish();
    return 0;
  }
  const tables = await readChosen(config);
  await storeStructure(config, target, tables);
  await schema.preData(shapeTables(tables, findOutput(config.outputs, target.output)));
  return 0;
}

/** Dumps the structure into one target, once. Returns what could not come along; null when it is there already. */
export async function storeStructure(
  config: Config,
  target: TargetConfig,
  tables: readonly TableStructure[],
): Promise<readonly string[] | null> {
  const client = await connectPg({ url: target.url, purpose: 'target', application: `restage ${config.name} schema` });
  try {
    if (!(await new SchemaJournal(client, config.name).isPreDataDone())) {
      await requireAbsent(client, shapeTables(tables, findOutput(config.outputs, target.output)));
    }
    const result = await storeArchive({
      sourceUrl: config.source.url,
      targetClient: client,
      tables,
      pipeline: config.name,
    });
    return result?.leftOut ?? null;
  } finally {
    await client.end();
  }
}

/** What `run` does before it starts the sinks: the structure for every target with `schema: copy`. */
export async function storeStructures(config: Config): Promise<void> {
  const targets = config.targets.filter((target) => target.schema === 'copy');
  if (targets.length === 0) return;
  const tables = await readChosen(config);
  for (const target of targets) await storeStructure(config, target, tables);
}

async function hasSink(config: Config, target: TargetConfig): Promise<boolean> {
  const client = await connectTarget(config, target);
  try {
    return (await readCheckpoint(client, config.name)) !== null;
  } finally {
    await client.end();
  }
}

/** The chosen tables, as the source's catalog has them now. */
export async function readChosen(config: Config): Promise<TableStructure[]> {
  const client = await connectPg({
    url: config.source.url,
    purpose: 'source',
    application: `restage ${config.name} schema`,
  });
  try {
    return await readChosenTables(client, config);
  } finally {
    await client.end();
  }
}
