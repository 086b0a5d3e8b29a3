import { quoteLiteral } from '#core/table-name.ts';
import { until } from '../../harness/until.ts';
import { connect } from '../bench-servers.ts';
import { copyStructure } from './copy-structure.ts';
import type { OpenPeer } from './peer.ts';

const STEP_MS = 1_800_000;

/** PostgreSQL's own logical replication: one subscription, binary, its initial copy with all workers that it may have. */
export const openNative: OpenPeer = async (servers, pair) => {
  await copyStructure(servers.binDir, pair);
  const [source, target] = [await connect(pair.source), await connect(pair.target)];
  const isTrue = async (client: typeof source, sql: string, values: readonly string[] = []): Promise<boolean> =>
    (await client.query<{ is: boolean }>(sql, [...values])).rows[0]?.is === true;
  return {
    name: 'native logical replication',
    settings: 'one subscription with binary = true, synchronous_commit = off (its default)',
    async load() {
      await source.query('CREATE PUBLICATION bench FOR ALL TABLES');
      await target.query(
        `CREATE SUBSCRIPTION bench CONNECTION ${quoteLiteral(pair.source)} PUBLICATION bench WITH (binary = true, slot_name = ${quoteLiteral(pair.name)})`,
      );
      const isReady = `SELECT count(*) > 0 AND bool_and(srsubstate = 'r') AS is FROM pg_subscription_rel`;
      await until(() => isTrue(target, isReady), { what: 'the subscription to be ready', timeoutMs: STEP_MS });
    },
    async stop() {
      await target.query('ALTER SUBSCRIPTION bench DISABLE');
      const isIdle = `SELECT NOT active AS is FROM pg_replication_slots WHERE slot_name = $1`;
      await until(() => isTrue(source, isIdle, [pair.name]), { what: 'the subscription to stop' });
    },
    async drain(lsn) {
      await target.query('ALTER SUBSCRIPTION bench ENABLE');
      // Applied, which is before it is confirmed.
      const isApplied = `SELECT coalesce(max(replay_lsn) >= $1::pg_lsn, false) AS is FROM pg_stat_replication WHERE application_name = 'bench'`;
      await until(() => isTrue(source, isApplied, [lsn]), { what: `native to pass ${lsn}`, timeoutMs: STEP_MS });
    },
    async [Symbol.asyncDispose]() {
      await target.query('DROP SUBSCRIPTION IF EXISTS bench');
      await Promise.all([source.end(), target.end()]);
    },
  };
};
