import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { actAsReplica, endStaleSessions } from '#adapters/postgres/target/apply-session.ts';
import { LaneState } from '#adapters/postgres/target/lane-state.ts';
import type { LaneCounts, LanePosition, Spread } from '#adapters/postgres/target/spread-state.ts';
import { TargetState } from '#adapters/postgres/target/target-state.ts';
import { catalogOf, changesOf, frameOf } from './postgres-target.ts';
import type { LoadLedger, RowStore, TakeoverTools, TargetCatalog, TargetTransaction } from './target.ts';

/** What a lane asks of its target: as TargetSession, of which it may do less. The simulation keeps it in memory. */
export interface LaneSession {
  readonly takeover: Pick<TakeoverTools, 'actAsReplica' | 'endStale'>;
  readonly transaction: Omit<TargetTransaction, 'begin'>;
  readonly lane: LaneLedger;
  readonly loads: Pick<LoadLedger, 'tables'>;
  readonly rows: Pick<RowStore, 'apply' | 'truncate' | 'alter'>;
  readonly catalog: Pick<TargetCatalog, 'table'>;
  /** Never fails. What was not committed is undone. */
  readonly end: () => Promise<void>;
}

export interface LaneLedger {
  /** What is open, and led by somebody who may apply; null for nothing. */
  spread(): Promise<Spread | null>;
  /** Takes the lane's position over; null where the spread is over, or has no such lane. */
  take(spread: Spread): Promise<LanePosition | null>;
  /**
   * Begins a transaction and locks the position: where the lane has to stop, null for nowhere. `over`: this holder may apply nothing of the
   * spread any more, and nothing is begun.
   */
  begin(spread: Spread): Promise<{ readonly until: bigint | null } | 'over'>;
  /** In the transaction of the data that it covers (invariant 2). */
  moveTo(position: LanePosition, counts: LaneCounts): Promise<void>;
}

/** A lane's session with PostgreSQL, for one holder of its lease. */
export function postgresLane(client: pg.Client, pipeline: string, lane: number): LaneSession {
  const state = new LaneState(pipeline, lane, randomUUID());
  const target = new TargetState(pipeline, '');
  return {
    takeover: { actAsReplica: () => actAsReplica(client), endStale: () => endStaleSessions(client) },
    transaction: frameOf(client),
    lane: {
      spread: () => state.spread(client),
      take: (spread) => state.take(client, spread),
      async begin(spread) {
        await client.query('BEGIN; SET CONSTRAINTS ALL DEFERRED');
        const until = await state.guard(client, spread);
        if (until !== undefined) return { until };
        await client.query('ROLLBACK');
        return 'over';
      },
      moveTo: (position, counts) => state.moveTo(client, position, counts),
    },
    loads: { tables: () => target.tableLoads(client) },
    rows: changesOf(client),
    catalog: catalogOf(client),
    end: () => client.end().catch(() => undefined),
  };
}
