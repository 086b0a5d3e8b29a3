import pg from 'pg';
import { pino } from 'pino';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { readDecidedManifest } from '#adapters/kafka/last-manifest.ts';
import { pause } from '#core/backoff.ts';
import { parseLsn } from '#core/lsn.ts';
import { BANK_FAULTS_SQL } from './bank.ts';
import { readLists, type ListHistory } from './list-history.ts';

export interface Watcher {
  /** How often it could look so far. */
  looks(): number;
  /** Gives what was wrong. */
  stop(): Promise<readonly string[]>;
}

const EVERY_MS = 100;

/** Looks at the target once the load is done: every state that it shows must be one of the source's (invariant 4). */
export function watchTarget(url: string, lists: ListHistory): Watcher {
  return watch(url, async (client) => {
    const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.checkpoint')`);
    if (known.rowCount === 0) return null;
    const { rowCount } = await client.query('SELECT FROM restage.checkpoint WHERE load_done');
    if (rowCount === 0) return null;
    const torn = (await client.query<{ fault: string }>(BANK_FAULTS_SQL)).rows.map(({ fault }) => fault);
    return [...torn, ...lists.look(await readLists(client))];
  });
}

/** The slot first, then the last manifest that was committed by then: the slot must not be ahead (invariant 1). */
export function watchSlot(url: string, brokers: string, name: string, slot: string): Watcher {
  const kafka = { brokers: brokers.split(','), ssl: false, sasl: null, replicationFactor: 1 };
  const pool = createConnectionPool(kafka, { clientId: 'slot watcher', logger: pino({ level: 'silent' }) });
  const watcher = watch(url, async (client) => {
    const sql = 'SELECT confirmed_flush_lsn::text AS confirmed FROM pg_replication_slots WHERE slot_name = $1';
    const confirmed = (await client.query<{ confirmed: string | null }>(sql, [slot])).rows[0]?.confirmed ?? null;
    if (confirmed === null) return null;
    const isAhead = (through: string): boolean => parseLsn(confirmed) > parseLsn(through);
    const last = await readDecidedManifest(pool, name, (manifest) => manifest !== null && !isAhead(manifest.through));
    if (last === null || last.kind === 'intent') return null;
    return isAhead(last.through) ? [`the slot is at ${confirmed}, the last manifest at ${last.through}`] : [];
  });
  return {
    looks: () => watcher.looks(),
    async stop() {
      const seen = await watcher.stop();
      await pool.close();
      return seen;
    },
  };
}

/** `look` gives faults, or null where there is nothing to see yet. A server that is away is looked at again later. */
function watch(url: string, look: (client: pg.Client) => Promise<string[] | null>): Watcher {
  const ended = new AbortController();
  const faults = new Set<string>();
  let looks = 0;
  const running = (async () => {
    while (!ended.signal.aborted) {
      const client = new pg.Client({ connectionString: url, application_name: 'chaos watcher' });
      client.on('error', () => undefined);
      try {
        await client.connect();
        while (!ended.signal.aborted) {
          const found = await look(client);
          looks += found === null ? 0 : 1;
          for (const fault of found ?? []) faults.add(`${new Date().toISOString()} ${fault}`);
          await pause(EVERY_MS, ended.signal);
        }
      } catch {
        await pause(EVERY_MS, ended.signal);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  })();
  return {
    looks: () => looks,
    async stop() {
      ended.abort();
      await running;
      return [...faults];
    },
  };
}
