import { connectPg } from '#adapters/postgres/session.ts';
import { ReplicationStream } from '#adapters/postgres/source/replication-stream.ts';
import { lsnOf } from '#core/lsn.ts';
import type { TestDatabase } from './database.ts';
import { until } from './until.ts';

/** A new slot that a walsender of "another program" reads, until the function given back is called. */
export async function occupySlot(database: TestDatabase, slot: string): Promise<() => Promise<void>> {
  await database.client.query('SELECT pg_create_logical_replication_slot($1, $2)', [slot, 'pgoutput']);
  await database.client.query('CREATE PUBLICATION others FOR ALL TABLES');
  const options = { url: database.url, purpose: 'source', application: 'another program', replication: true } as const;
  const stream = new ReplicationStream(await connectPg(options), slot, 'others', lsnOf(0n));
  const isActive = async (wanted: boolean): Promise<boolean> => {
    const sql = 'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active = $2';
    return (await database.client.query(sql, [slot, wanted])).rowCount === 1;
  };
  await until(() => isActive(true), { what: 'the slot to be read' });
  return async () => {
    await stream.close();
    await until(() => isActive(false), { what: 'the slot to be free' });
    await database.client.query('SELECT pg_drop_replication_slot($1)', [slot]);
    await database.client.query('DROP PUBLICATION others');
  };
}
