import path from 'node:path';
import type { Command } from 'commander';
import type { Config } from '#core/config.ts';
import { readShapedConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import { requireReadyPipeline } from './preflight.ts';
import { storeStructures } from './schema-command.ts';
import { Supervisor, type ChildService } from './supervisor.ts';

export function registerRun(program: Command, cli: CliEnvironment): void {
  program
    .command('run')
    .description('producer, transformer and sinks as supervised child processes; SIGTERM drains all')
    .requiredOption('-c, --config <file>', 'configuration file')
    .action(async (options: { config: string }) => {
      const config = await readShapedConfig(options.config, cli.env);
      const logger = makeLogger(cli.env, cli.isTerminal);
      await requireReadyPipeline(config, logger);
      // A sink never connects to the source: what it restores is put into its target first.
      if ((config.source.debezium ?? null) === null) await storeStructures(config);
      const supervisor = new Supervisor(cli.self, logger, (line) => cli.err(`${line}\n`));
      cli.setExitCode(await supervisor.run(listServices(config, options.config, cli), cli.signal));
    });
}

function listServices(config: Config, file: string, cli: CliEnvironment): ChildService[] {
  const env = {
    ...cli.env,
    ...(cli.isTerminal && cli.env['RESTAGE_LOG_FORMAT'] === undefined ? { RESTAGE_LOG_FORMAT: 'pretty' } : {}),
  };
  // One fixed port serves one process: the producer; the others take free ones.
  const others = { ...env, RESTAGE_HTTP_PORT: '0' };
  const absolute = path.resolve(file);
  return [
    ...((config.source.debezium ?? null) === null
      ? [{ name: 'producer', args: ['producer', '-c', absolute], env }]
      : []),
    ...(config.outputs.length === 0
      ? []
      : [{ name: 'transformer', args: ['transformer', '-c', absolute], env: others }]),
    ...config.targets.map((target) => ({
      name: `sink ${target.name}`,
      args: ['sink', '-c', absolute, '--target', target.name],
      env: others,
    })),
  ];
}
