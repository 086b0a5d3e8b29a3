import type { TableLoad } from '#adapters/postgres/target/target-state.ts';
import type { HoldGate } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { LagMeter } from '#core/lag-meter.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import type { LateLoad } from './late-load.ts';
import type { Quarantine } from './quarantine.ts';
import type { TableRanks } from './segment-apply.ts';
import type { SpreadPass } from './spread-pass.ts';
import type { StructureBook } from './structure-book.ts';
import type { TargetSession } from './target.ts';

/** What the pass over the stream needs of its attempt. */
export interface StreamPassOptions {
  readonly reader: EpochReader;
  readonly structures: StructureBook;
  readonly session: TargetSession;
  /** What was loaded of each topic, as the target notes it now. */
  readonly readLoads: () => Promise<ReadonlyMap<string, TableLoad>>;
  readonly late: LateLoad;
  readonly status: ServiceStatus;
  readonly lag: LagMeter;
  readonly whenRunning: () => Promise<void>;
  readonly hold: HoldGate;
  /** Adds the labels that an alteration brings, in a session of its own. */
  readonly addLabels: (table: TableStructure, changes: readonly ColumnChange[]) => Promise<void>;
  readonly clock: () => number;
  readonly failpoints: Failpoints;
  /** Called once the applied position has passed the newest snapshot. */
  readonly onCaughtUp: () => Promise<void>;
  /** Where foreign keys are checked, how the tables stand to each other now; else null. */
  readonly readRanks: () => Promise<TableRanks | null>;
  readonly isLoadDone: boolean;
  /** What becomes of changes that the target refuses, once the load is done. */
  readonly quarantine: Quarantine;
  /** While lanes apply (ordering: key); they are asked to end what an earlier life opened, whatever the ordering is now. */
  readonly spread: SpreadPass;
}
