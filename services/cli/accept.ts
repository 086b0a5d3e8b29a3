import type { Command } from 'commander';
import type { Config } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { readConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

/** `accept`: a person has looked at what became of the publication; the next start takes it as it is then. */
export function registerAccept(program: Command, cli: CliEnvironment): void {
  program
    .command('accept')
    .description('after publication_altered: the next start takes the publication as it is then')
    .requiredOption('-c, --config <file>', 'configuration file')
    .action(async (options: { config: string }) => {
      const config = await readConfig(options.config, cli.env);
      requireOwnSource(config, 'accept');
      const logger = makeLogger(cli.env, cli.isTerminal);
      const hadOne = await forgetPublication(config, logger);
      const { noteAction } = await import('./migration/audit.ts');
      const given = { publication: config.source.publication };
      if (hadOne) await noteAction(config, config.targets, { action: 'accept', with: given }, logger);
      cli.out(
        hadOne
          ? `publication ${config.source.publication}: the next start takes it as it is\n`
          : 'nothing is remembered\n',
      );
    });
}

/** What is remembered of Kafka stays. False where nothing was. @throws RestageError usage while a producer is at work. */
async function forgetPublication(config: Config, logger: Logger): Promise<boolean> {
  const { appendRecord, readCompacted } = await import('#adapters/kafka/keyed-topic.ts');
  const { findGround, groundRecord } = await import('#core/ground.ts');
  const { schemasTopic } = await import('#core/topic-names.ts');
  const { openControlPool } = await import('./control-topic.ts');
  const { readSourceFigures } = await import('./source-figures.ts');
  if ((await readSourceFigures(config)).slot?.isActive === true) {
    throw new RestageError('usage', 'a producer is at work, and remembers the publication as it took it', {
      where: `slot ${config.source.slot}`,
      fix: 'stop the producer first',
    });
  }
  const pool = openControlPool(config, logger);
  try {
    const topic = schemasTopic(config.name);
    const known = (await pool.isThere(topic)) ? findGround(await readCompacted(pool, topic)) : null;
    if (known === null || known.publication === null) return false;
    const record = groundRecord({ ...known, publication: null });
    await appendRecord(pool, topic, record.key, record.value);
    return true;
  } finally {
    await pool.close();
  }
}
