import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { NO_FAILPOINTS, type Failpoints } from '#core/failpoints.ts';
import type { SchemaBuild } from './schema-build.ts';
import { SchemaJournal, type BuildStep } from './schema-journal.ts';
import { TargetState } from './target-state.ts';

export interface SchemaFinish {
  /** False: rows are still on their way, and nothing was done. */
  readonly isLoadDone: boolean;
  readonly steps: readonly BuildStep[];
}

/**
 * The end of a target whose role may not set session_replication_role: what waited comes back. First, in one transaction, the target
 * is taken from its sink, which applies nothing to it any more: no trigger ever fires on a replayed row. May be called again, and goes
 * on where it stopped; where nothing waits it changes nothing, and the sink goes on.
 */
export async function finishSchema(
  client: pg.ClientBase,
  pipeline: string,
  build: SchemaBuild,
  isDryRun: boolean,
  failpoints: Failpoints = NO_FAILPOINTS,
): Promise<SchemaFinish> {
  if (!(await hasState(client))) return { isLoadDone: false, steps: [] };
  const journal = new SchemaJournal(client, pipeline);
  await client.query('BEGIN');
  // A new token for the checkpoint: whoever had the old one can apply nothing from here on.
  const checkpoint = await new TargetState(pipeline, randomUUID()).open(client);
  const steps = checkpoint?.isLoadDone === true ? await build.left() : [];
  if (isDryRun || steps.length === 0) {
    await client.query('ROLLBACK');
    // An earlier call did it all, and ended before it could say so.
    if (!isDryRun && (await journal.isFinishStarted())) await end(journal, failpoints);
    return { isLoadDone: checkpoint?.isLoadDone ?? false, steps };
  }
  await journal.startFinish();
  failpoints.hit('finish.take.before');
  await client.query('COMMIT');
  failpoints.hit('finish.take.after');
  await build.finish();
  await end(journal, failpoints);
  return { isLoadDone: true, steps };
}

async function end(journal: SchemaJournal, failpoints: Failpoints): Promise<void> {
  failpoints.hit('finish.end.before');
  await journal.endFinish();
  failpoints.hit('finish.end.after');
}

/** True once a target was taken from its sink for good. */
export async function isFinishStarted(client: pg.ClientBase, pipeline: string): Promise<boolean> {
  const known = await client.query("SELECT FROM pg_class WHERE oid = to_regclass('restage.journal')");
  return known.rowCount === 1 && (await new SchemaJournal(client, pipeline).isFinishStarted());
}

async function hasState(client: pg.ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ known: boolean }>(
    `SELECT to_regclass('restage.checkpoint') IS NOT NULL AND to_regclass('restage.journal') IS NOT NULL AS known`,
  );
  return rows[0]?.known === true;
}
