import type pg from 'pg';
import { connectPg } from '#adapters/postgres/session.ts';
import { requireKnownFormat } from '#adapters/postgres/target/target-state.ts';
import type { Config, TargetConfig } from '#core/config.ts';

/** The position stored in a target. */
export interface Checkpoint {
  /** LSN in text form; every transaction that committed before it is applied. */
  readonly through: string;
  readonly isLoadDone: boolean;
}

/** `until`: its session is cut when that aborts, also where the server has fallen silent. */
export async function connectTarget(config: Config, target: TargetConfig, until?: AbortSignal): Promise<pg.Client> {
  return connectPg({
    url: target.url,
    purpose: 'target',
    application: `restage ${config.name} cli`,
    ...(until === undefined ? {} : { until }),
  });
}

/** null before the sink's first start. @throws RestageError state_newer. */
export async function readCheckpoint(client: pg.ClientBase, pipeline: string): Promise<Checkpoint | null> {
  const known = await client.query<{ known: boolean }>(
    `SELECT pg_catalog.to_regclass('restage.checkpoint') IS NOT NULL AS known`,
  );
  if (known.rows[0]?.known !== true) return null;
  const found = await client.query<{ format: number; through: string | null; load_done: boolean }>(
    'SELECT format, through::text AS through, load_done FROM restage.checkpoint WHERE pipeline = $1',
    [pipeline],
  );
  const [row] = found.rows;
  if (row !== undefined) requireKnownFormat(row.format, pipeline);
  return row === undefined ? null : { through: row.through ?? '0/0', isLoadDone: row.load_done };
}
