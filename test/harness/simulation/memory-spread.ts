import { RestageError } from '#core/errors.ts';
import type { SpreadLedger } from '../../../services/sink/target.ts';
import type { Connection } from './memory-target.ts';

/** The main loop's side of a spread, in memory. */
export function spreadOf(connection: Connection, token: string): SpreadLedger {
  return {
    adopt: () =>
      connection.change('adopt', (store) => {
        if (store.spread === null) return null;
        if (store.lanes.size !== store.spread.spread.lanes)
          throw new RestageError('state_damaged', 'lanes are missing');
        store.spread = { ...store.spread, token: store.token };
        return store.spread.spread;
      }),
    open: (spread, from) =>
      connection.change('spread', (store) => {
        if (store.spread !== null) throw new Error('two spreads at once');
        store.spread = { spread, token: store.token };
        const counts = { insert: 0, update: 0, delete: 0 };
        for (let lane = 0; lane < spread.lanes; lane += 1) store.lanes.set(lane, { lane, ...from, counts, token: '' });
      }),
    progress: () =>
      connection.read('progress', (store) => {
        if (store.token !== token) throw new RestageError('lease_lost', 'another sink took this target over');
        return [...store.lanes.values()].toSorted((a, b) => a.lane - b.lane);
      }),
    converge: (until) =>
      connection.change('converge', (store) => {
        if (store.spread !== null) store.spread = { ...store.spread, spread: { ...store.spread.spread, until } };
      }),
    close: () =>
      connection.change('close', (store) => {
        store.spread = null;
        store.lanes.clear();
      }),
  };
}
