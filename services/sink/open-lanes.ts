import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { TopicGround } from '#adapters/kafka/topic-ground.ts';
import { createChosenLease } from '#adapters/postgres/advisory-lease.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { findSpread, type Spread } from '#adapters/postgres/target/spread-state.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { postgresLane } from './lane-target.ts';
import { serveLanes, type LaneFeed, type LaneLease } from './lanes.ts';

export interface LanesOptions {
  readonly config: Config;
  readonly target: TargetConfig;
  /** Of the topics that the target takes. */
  readonly prefix: string;
  readonly logger: Logger;
  readonly failpoints: Failpoints;
}

export interface Lanes {
  /** As many as the configuration says. */
  readonly count: number;
  /** `most`: of this process, as long as others serve the rest. Until aborted. */
  readonly serve: (share: { readonly count: number; readonly most: number }, signal: AbortSignal) => Promise<void>;
}

/** Lanes that nobody has had for so long are taken by whoever is there. */
const PATIENCE_MS = 5_000;

/** A target's lanes, of which a process serves some. */
export function lanesOf(options: LanesOptions): Lanes {
  const { config, target } = options;
  const count = target.lanes ?? 1;
  return {
    count,
    async serve(share, signal) {
      // Of another configuration: every lane of it has to be served until they have met.
      const open = await lookForSpread(options);
      const all = Math.max(share.count, open?.lanes ?? 0);
      const own = Math.min(all, share.most);
      await serveLanes(
        {
          target: target.name,
          schemasTopic: schemasTopic(options.prefix),
          own,
          spare: all - own,
          leases: (kind) => leaseOf(options, all, kind === 'own' ? 0 : PATIENCE_MS),
          open: async (lane, lease) => {
            const application = nameOf(options, `lane ${lane}`);
            const session = await connectPg({ url: target.url, purpose: 'target', application, until: lease.lost });
            return postgresLane(session, config.name, lane);
          },
          feed: (lane) => feedOf(options, lane),
          pace: { firstLookMs: 20, lastLookMs: 500, restMs: 300 },
          clock: Date.now,
          failpoints: options.failpoints,
          logger: options.logger,
        },
        signal,
      );
    },
  };
}

async function lookForSpread(options: LanesOptions): Promise<Spread | null> {
  const application = nameOf(options, 'look');
  const client = await connectPg({ url: options.target.url, purpose: 'target', application });
  try {
    return await findSpread(client, options.config.name);
  } finally {
    await client.end();
  }
}

/** Ends with what tells sessions apart: PostgreSQL cuts names at 63 bytes. */
function nameOf({ config, target }: LanesOptions, what: string): string {
  return `restage ${config.name} sink ${target.name}`.slice(0, 62 - what.length) + ` ${what}`;
}

function leaseOf(options: LanesOptions, count: number, patienceMs: number): LaneLease {
  const { config, target, logger } = options;
  const names = Array.from({ length: count }, (_, lane) => `${config.name}.sink.${target.name}.lane.${lane}`);
  const connect = () => connectPg({ url: target.url, purpose: 'target', application: nameOf(options, 'lane lease') });
  const lease = createChosenLease({ connect, names, patienceMs, logger });
  return {
    acquire: (signal, onWait) => lease.acquire(signal, onWait),
    get lost() {
      return lease.lost;
    },
    get lane() {
      return names.indexOf(lease.chosen);
    },
    release: () => lease.release(),
  };
}

function feedOf({ config, target, prefix, logger }: LanesOptions, lane: number): LaneFeed {
  const pool = createConnectionPool(config.kafka, {
    clientId: `restage ${config.name} sink ${target.name} lane ${lane}`,
    logger,
  });
  const { partitions = 1 } = config.kafka;
  let ground: TopicGround | null = null;
  return {
    reader: createKafkaEpochReader({ pool, prefix, logger }),
    readStructures: async () => (await readCompacted(pool, schemasTopic(prefix))).values(),
    async watch(signal) {
      ground ??= await TopicGround.open({ pool, prefix, partitions, logger, clock: Date.now });
      await ground.adopt([]);
      await ground.watch(signal);
    },
    close: () => pool.close(),
  };
}
