import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { readLastManifest } from '#adapters/kafka/last-manifest.ts';
import type { AdoptedLife } from '#adapters/postgres/target/target-state.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import { prefixOf } from '#core/output-ref.ts';
import { findStructures } from '#core/structure-record.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { openControlPool } from '../control-topic.ts';
import type { Line } from './ends.ts';

/** How far a line's stream of epochs is in Kafka, and where it begins. */
export interface StreamLife extends Omit<AdoptedLife, 'through'> {
  readonly through: Lsn;
}

/** null while the load that comes before the stream is not over in Kafka. */
export async function readStreamLife({ config, target }: Line, logger: Logger): Promise<StreamLife | null> {
  const pool = openControlPool(config, logger);
  try {
    const prefix = prefixOf(config, target.output);
    const last = (await readLastManifest(pool, prefix))?.manifest ?? null;
    if (last === null || last.plan === null || last.loaded !== true) return null;
    const structures = findStructures((await readCompacted(pool, schemasTopic(prefix))).values());
    return {
      incarnation: last.incarnation,
      planOffset: BigInt(last.plan),
      load: last.load,
      topics: [...new Set(structures.map(({ structure }) => structure.topic))],
      through: parseLsn(last.through),
    };
  } finally {
    await pool.close();
  }
}

/** @throws RestageError switch_refused. */
export async function requireStreamLife(line: Line, logger: Logger): Promise<StreamLife> {
  const life = await readStreamLife(line, logger);
  if (life !== null) return life;
  throw new RestageError('switch_refused', `pipeline ${line.config.name} has no stream in Kafka yet`, {
    fix: 'start the way back (restage reverse) and wait until it streams',
  });
}
