import type { LanePosition } from '#adapters/postgres/target/spread-state.ts';
import type { LaneLedger, LaneSession } from '../../../services/sink/lane-target.ts';
import { storeOf, tableOf } from './memory-session.ts';
import type { Connection } from './memory-target.ts';
import type { TargetStore } from './target-store.ts';

/** A lane's session, in memory. */
export function memoryLane(connection: Connection, lane: number, token: string): LaneSession {
  return {
    takeover: {
      actAsReplica: () => connection.read('replica', () => true),
      endStale: () => connection.read('stale', () => connection.endOthers()),
    },
    transaction: {
      commit: () => connection.commit(),
      rollback: () => connection.rollback(),
      attempt: (work) => connection.attempt(work),
      settle: () => connection.read('settle', () => undefined),
    },
    lane: ledgerOf(connection, lane, token),
    loads: { tables: () => connection.read('loads', (store) => new Map(store.loads)) },
    rows: storeOf(connection, () => false),
    catalog: { table: (structure) => Promise.resolve(tableOf(structure)) },
    end: () => {
      connection.close();
      return Promise.resolve();
    },
  };
}

function ledgerOf(connection: Connection, lane: number, token: string): LaneLedger {
  const led = ({ spread, token: leader }: TargetStore) => (spread?.token === leader ? spread.spread : null);
  return {
    spread: () => connection.read('look', led),
    take: ({ id }) =>
      connection.change('takeLane', (store): LanePosition | null => {
        const known = store.lanes.get(lane);
        if (known === undefined || store.spread?.spread.id !== id) return null;
        store.lanes.set(lane, { ...known, token });
        return known;
      }),
    async begin({ id }) {
      await connection.begin('SHARE');
      const found = await connection.read('guard', (store) => ({ spread: led(store), own: store.lanes.get(lane) }));
      if (found.spread?.id === id && found.own?.token === token) return { until: found.spread.until };
      await connection.rollback();
      return 'over';
    },
    moveTo: ({ nextOffset, through, epoch }, counts) =>
      connection.change('moveLane', (store) => {
        const known = store.lanes.get(lane);
        if (known?.token !== token) throw new Error('a lane that another serves was moved');
        const sum = {
          insert: known.counts.insert + counts.insert,
          update: known.counts.update + counts.update,
          delete: known.counts.delete + counts.delete,
        };
        store.lanes.set(lane, { ...known, nextOffset, through, epoch, counts: sum });
      }),
  };
}
