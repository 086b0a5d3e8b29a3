import type pg from 'pg';
import type { Config } from '#core/config.ts';
import type { PauseGate, SnapshotGate } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { EpochWriter } from '#core/epoch-writer.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { ConverterFactory } from '#core/debezium/record-converter.ts';
import type { Logger } from '#core/log.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { WaitMeter } from '#core/wait-meter.ts';
import type { StartKeeper } from './load-snapshots.ts';
import type { Rewrites } from './rewrites.ts';
import type { SourceGround } from './source-ground.ts';

/** What one attempt of the producer needs; everything that talks to the outside is handed in. */
export interface ProducerParts {
  readonly config: Config;
  readonly version: string;
  readonly application: string;
  readonly writer: EpochWriter;
  readonly reader: EpochReader;
  readonly connect: (settings?: Record<string, string>) => Promise<pg.Client>;
  /** For all loops of an attempt: pipelined. */
  readonly connectShared: () => Promise<pg.Client>;
  readonly ground: SourceGround;
  readonly connectReplication: () => Promise<pg.Client>;
  /** null: the load's snapshot ends with this process. */
  readonly startKeeper: StartKeeper | null;
  /** Process number of the lease's session. */
  readonly leaseBackend: () => number;
  /** `beside`: topics that are no table's, of one partition. */
  readonly ensureTopics: (tables: readonly { readonly topic: string }[], beside?: readonly string[]) => Promise<void>;
  /** Of tables, in this order; hands over those that can be written to. */
  readonly makeTopics: (topics: readonly string[]) => AsyncIterable<readonly string[]>;
  /** How keys and values of profile `debezium` are written. */
  readonly converters: ConverterFactory;
  /** Values of the topic of structures, each key's latest. */
  readonly readStructures: () => Promise<Iterable<Buffer>>;
  readonly status: ServiceStatus;
  readonly gate: PauseGate;
  readonly waits: WaitMeter;
  readonly snapshots: SnapshotGate;
  /** Outlives the attempt. */
  readonly rewrites: Rewrites;
  readonly logger: Logger;
  readonly failpoints: Failpoints;
  readonly clock: () => number;
}
