import type { Command } from 'commander';
import { openSchemaBuild } from '#adapters/postgres/target/open-target-schema.ts';
import { finishSchema, type SchemaFinish } from '#adapters/postgres/target/schema-finish.ts';
import { findTarget, readConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import { noteAction } from './migration/audit.ts';
import { processFailpoints } from './process-failpoints.ts';
import { connectTarget } from './target-checkpoint.ts';

interface FinishOptions {
  readonly config: string;
  readonly target: string;
  readonly dryRun: boolean;
  readonly json: boolean;
}

/** Under `restage schema`. 0 done or nothing to do, 1 when the load is not done. */
export function registerSchemaFinish(schema: Command, cli: CliEnvironment): void {
  schema
    .command('finish')
    .description(
      'for the switch, where the role may not set session_replication_role: ends the apply to this target, then brings back the foreign keys, triggers and rules that waited',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option('--dry-run', 'prints the statements and does nothing', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: FinishOptions) => {
      const result = await finish(options, cli);
      if (options.json) cli.out(`${JSON.stringify(toJson(options, result))}\n`);
      else if (result.isLoadDone) cli.out(describe(result, options.dryRun));
      else cli.err(`the load of ${options.target} is not done: nothing was changed; restage wait returns when it is\n`);
      cli.setExitCode(result.isLoadDone ? 0 : 1);
    });
}

async function finish(options: FinishOptions, cli: CliEnvironment): Promise<SchemaFinish> {
  const config = await readConfig(options.config, cli.env);
  requireOwnSource(config, 'schema finish');
  const target = findTarget(config, options.target);
  const client = await connectTarget(config, target);
  try {
    const failpoints = processFailpoints(cli.env);
    const build = openSchemaBuild({ pipeline: config.name, target, failpoints });
    const result = await finishSchema(client, config.name, build, options.dryRun, failpoints);
    if (result.isLoadDone && !options.dryRun) {
      const given = { statements: result.steps.length };
      await noteAction(config, [target], { action: 'schema finish', with: given }, makeLogger(cli.env, cli.isTerminal));
    }
    return result;
  } finally {
    await client.end();
  }
}

function toJson(options: FinishOptions, { isLoadDone, steps }: SchemaFinish): object {
  return {
    target: options.target,
    dryRun: options.dryRun,
    loadDone: isLoadDone,
    steps: steps.map(({ phase, table, name, sql }) => ({ phase, ...table, name, sql })),
  };
}

function describe({ steps }: SchemaFinish, isDryRun: boolean): string {
  if (steps.length === 0) return 'nothing waits\n';
  const head = isDryRun ? 'would end the apply to this target, and run:' : 'ended the apply to this target, and ran:';
  return `${[head, ...steps.map((step) => `${step.sql};`)].join('\n')}\n`;
}
