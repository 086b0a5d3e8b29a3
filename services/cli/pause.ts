import { Option, type Command } from 'commander';
import type { Config } from '#core/config.ts';
import { desiredKey, type DesiredState } from '#core/control.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { outputRef } from '#core/output-ref.ts';
import { controlTopic } from '#core/topic-names.ts';
import { findTarget, readConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

/** `pause` and `resume`: the desired state of every service, or of one target's sink, obeyed also after a restart. */
export function registerPause(program: Command, cli: CliEnvironment): void {
  register(program, cli, 'pause', 'paused', 'holds services without losing their position');
  register(program, cli, 'resume', 'run', 'lets held services continue');
}

function register(
  program: Command,
  cli: CliEnvironment,
  name: 'pause' | 'resume',
  state: DesiredState,
  description: string,
): void {
  program
    .command(name)
    .description(description)
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--target <name>', 'only the sink of this target')
    .addOption(new Option('--service <service>', 'only these services').choices(['producer', 'transformer', 'sink']))
    .action(async (options: { config: string; target?: string; service?: string }) => {
      const config = await readConfig(options.config, cli.env);
      const keys = chooseKeys(config, options);
      const logger = makeLogger(cli.env, cli.isTerminal);
      await writeDesired(config, keys, state, logger);
      const { noteAction } = await import('./migration/audit.ts');
      const targets = options.target === undefined ? config.targets : [findTarget(config, options.target)];
      await noteAction(config, targets, { action: name, with: { services: keys.join(', ') } }, logger);
      cli.out(
        `${state === 'paused' ? 'paused' : 'running'}: ${keys.map((key) => key.replace(/^desired\//, '').replace(/\/$/, '')).join(', ')}\n`,
      );
    });
}

async function writeDesired(
  config: Config,
  keys: readonly string[],
  state: DesiredState,
  logger: Logger,
): Promise<void> {
  const { appendRecord } = await import('#adapters/kafka/keyed-topic.ts');
  const { ensureControlTopic, openControlPool } = await import('./control-topic.ts');
  const pool = openControlPool(config, logger);
  try {
    await ensureControlTopic(config, pool);
    for (const key of keys) await appendRecord(pool, controlTopic(config.name), key, JSON.stringify({ state }));
  } finally {
    await pool.close();
  }
}

/** @throws RestageError usage for a target that there is not, or a service that the pipeline does not have. */
function chooseKeys(config: Config, { target, service }: { target?: string; service?: string }): string[] {
  const wanted = target === undefined ? null : desiredKey('sink', findTarget(config, target).name);
  const keys = allKeys(config).filter(
    (key) => (wanted === null || key === wanted) && (service === undefined || key.startsWith(`desired/${service}/`)),
  );
  if (keys.length > 0) return keys;
  throw new RestageError('usage', `no ${service ?? 'service'} of this pipeline is meant`, {
    where: config.file,
    fix: '--target means a sink; a pipeline without outputs has no transformer',
  });
}

function allKeys(config: Config): string[] {
  return [
    ...((config.source.debezium ?? null) === null ? [desiredKey('producer', '')] : []),
    ...config.outputs.map((output) => desiredKey('transformer', outputRef(config.outputs, output))),
    ...config.targets.map((target) => desiredKey('sink', target.name)),
  ];
}
