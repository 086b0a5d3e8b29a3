import path from 'node:path';
import type { Command } from 'commander';
import type { Config, OutputConfig, TargetConfig } from '#core/config.ts';
import { findOutput } from '#core/output-ref.ts';
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
    .option('--accept-rules', 'after rules_changed: the new rules hold from here on, for rows that come', false)
    .option('--unchecked', 'begins the copy without asking the checklist again', false)
    .action(async (options: RunOptions & { unchecked: boolean }) => {
      const config = await readShapedConfig(options.config, cli.env);
      const logger = makeLogger(cli.env, cli.isTerminal);
      await requireReadyPipeline(config, logger);
      if ((config.source.debezium ?? null) === null && !options.unchecked) {
        const { gateCopy } = await import('./migration/check-gate.ts');
        await gateCopy(config, (line) => cli.err(`${line}\n`));
      }
      // A sink never connects to the source: what it restores is put into its target first.
      if ((config.source.debezium ?? null) === null) await storeStructures(config);
      const supervisor = new Supervisor(cli.self, logger, (line) => cli.err(`${line}\n`));
      cli.setExitCode(await supervisor.run(listServices(config, options, cli), cli.signal));
    });
}

/** Whether a target of the pipeline takes the output; the topics of any other are for somebody else. */
function isForTargets({ outputs, targets }: Config, output: OutputConfig): boolean {
  return targets.some((target) => findOutput(outputs, target.output) === output);
}

interface RunOptions {
  readonly config: string;
  readonly acceptRules: boolean;
}

function listServices(config: Config, { config: file, acceptRules }: RunOptions, cli: CliEnvironment): ChildService[] {
  const env = {
    ...cli.env,
    ...(cli.isTerminal && cli.env['RESTAGE_LOG_FORMAT'] === undefined ? { RESTAGE_LOG_FORMAT: 'pretty' } : {}),
  };
  // One fixed port serves one process: the producer; the others take free ones.
  const others = { ...env, RESTAGE_HTTP_PORT: '0' };
  const absolute = path.resolve(file);
  return [
    ...((config.source.debezium ?? null) === null
      ? [{ name: 'producer', args: ['producer', '-c', absolute], env, isEnd: false }]
      : []),
    ...(config.outputs.length === 0
      ? []
      : [
          {
            name: 'transformer',
            args: ['transformer', '-c', absolute, ...(acceptRules ? ['--accept-rules'] : [])],
            env: others,
            needs: ['producer'],
            isEnd: config.outputs.some((output) => !isForTargets(config, output)),
          },
        ]),
    ...config.targets.flatMap((target) =>
      sinkArgs(target).map((more, index) => ({
        name: `sink ${target.name}${index === 0 ? '' : ` (${index + 1})`}`,
        args: ['sink', '-c', absolute, '--target', target.name, ...more],
        env: others,
        needs: [findOutput(config.outputs, target.output) === undefined ? 'producer' : 'transformer'],
      })),
    ),
  ];
}

/** Of each sink process of a target: several share its lanes (ordering: key). */
function sinkArgs({ instances = 1, lanes }: TargetConfig): string[][] {
  if (instances === 1) return [[]];
  const each = Math.ceil((lanes ?? 1) / instances);
  return Array.from({ length: instances }, () => ['--lanes', String(each)]);
}
