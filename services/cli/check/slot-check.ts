import pino from 'pino';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { readDecidedManifest } from '#adapters/kafka/last-manifest.ts';
import { readSlot, requireOwnWalsender, type SlotState } from '#adapters/postgres/source/slot.ts';
import type { Config } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { Manifest } from '#core/manifest.ts';
import { isOwnSlot, requireOwnSlot } from '../../producer/birth.ts';
import type { CheckContext } from './check-context.ts';
import type { Finding } from './finding.ts';

/** What the producer will say of the slot: nobody else's, and the one that Kafka's history tells of. */
export async function checkSlot({ source, config }: CheckContext): Promise<Finding[]> {
  const { slot: name } = config.source;
  const slot = await readSlot(source, name);
  try {
    await requireOwnWalsender(source, name, slot, `restage ${config.name} producer`);
    const history = await readHistory(config, slot);
    if (history !== 'unknown') requireOwnSlot(name, slot, history);
  } catch (error) {
    if (!(error instanceof RestageError)) throw error;
    return [{ what: error.message, evidence: error.where ?? error.code, fix: error.fix ?? 'see the message' }];
  }
  return slot === null ? [] : [described(name, slot)];
}

/** Without Kafka nothing can be said of the history; a check of its own says so. */
async function readHistory(config: Config, slot: SlotState | null): Promise<Manifest | null | 'unknown'> {
  const pool = createConnectionPool(config.kafka, {
    clientId: `restage-${config.name}-check`,
    logger: pino({ level: 'silent' }),
  });
  try {
    return await readDecidedManifest(pool, config.name, (last) => isOwnSlot(config.source.slot, slot, last));
  } catch (error) {
    if (error instanceof RestageError && error.code.startsWith('kafka_')) return 'unknown';
    throw error;
  } finally {
    await pool.close();
  }
}

function described(name: string, slot: SlotState): Finding {
  return {
    severity: 'info',
    what: `the slot ${name} is there already`,
    evidence: `${slot.activePid === null ? 'inactive' : `in use by process ${slot.activePid}`}, keeps ${slot.retainedBytes} bytes of WAL`,
    fix: "nothing, when it is this pipeline's own",
  };
}
