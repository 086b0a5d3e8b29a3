import { readDecidedManifest } from '#adapters/kafka/last-manifest.ts';
import { readSlot, requireOwnWalsender, type SlotState } from '#adapters/postgres/source/slot.ts';
import { RestageError } from '#core/errors.ts';
import { isOwnSlot, requireOwnSlot } from '../../producer/birth.ts';
import { askKafka } from './ask-kafka.ts';
import type { CheckContext } from './check-context.ts';
import type { Finding } from './finding.ts';

/** What the producer will say of the slot: nobody else's, and the one that Kafka's history tells of. */
export async function checkSlot({ source, config }: CheckContext): Promise<Finding[]> {
  const { slot: name } = config.source;
  const slot = await readSlot(source, name);
  try {
    await requireOwnWalsender(source, name, slot, `restage ${config.name} producer`);
    // Without Kafka nothing can be said of the history; a check of its own says so.
    const history = await askKafka(config, 'unknown', (pool) =>
      readDecidedManifest(pool, config.name, (last) => isOwnSlot(name, slot, last)),
    );
    if (history !== 'unknown') requireOwnSlot(name, slot, history);
  } catch (error) {
    if (!(error instanceof RestageError)) throw error;
    return [{ what: error.message, evidence: error.where ?? error.code, fix: error.fix ?? 'see the message' }];
  }
  return slot === null ? [] : [described(name, slot)];
}

function described(name: string, slot: SlotState): Finding {
  return {
    severity: 'info',
    what: `the slot ${name} is there already`,
    evidence: `${slot.activePid === null ? 'inactive' : `in use by process ${slot.activePid}`}, keeps ${slot.retainedBytes} bytes of WAL`,
    fix: "nothing, when it is this pipeline's own",
  };
}
