import type { Config, TargetConfig } from '#core/config.ts';
import type { Logger } from '#core/log.ts';
import { wayBackOf } from '#core/migration/way-back.ts';
import { trialPipeline } from '#core/rehearsal/trial-pipeline.ts';
import type { CliEnvironment } from '../environment.ts';
import type { Line } from '../migration/ends.ts';
import { tearDown } from '../teardown/teardown-command.ts';

const OPTIONS = { dryRun: false, yes: true, json: true, force: true, registry: false };

/** Whatever the pipelines of a rehearsed switch have anywhere, without a word; the databases are the caller's. */
export async function forgetTrial({ config, target }: Line, logger: Logger, cli: CliEnvironment): Promise<void> {
  const quiet = { ...cli, out: () => undefined, err: () => undefined, setExitCode: () => undefined };
  for (const one of [wayBackOf(config, target, []).config, config]) await tearDown(one, OPTIONS, logger, quiet);
}

/** What is left in Kafka of one that was killed, once its databases are gone: `url` is any database of their server. */
export async function forgetKilledTrial(
  config: Config,
  target: TargetConfig,
  url: string,
  logger: Logger,
  cli: CliEnvironment,
): Promise<void> {
  await forgetTrial(trialPipeline(config, target, { standInUrl: url, cloneUrl: url, tables: [] }), logger, cli);
}
