import type pg from 'pg';
import { connectPg } from '#adapters/postgres/session.ts';
import { isOwnPublication } from '#adapters/postgres/source/publication.ts';
import { readSide } from '#adapters/postgres/migration/side-state.ts';
import { forgetPipeline } from '#adapters/postgres/target/pipeline-state.ts';
import { dropDdlTrigger, DROP_DDL_TRIGGER_SQL, findDdlTrigger } from '#adapters/postgres/source/ddl-trigger.ts';
import { dropSlot, readSlot } from '#adapters/postgres/source/slot.ts';
import type { Config } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { sourceKeys } from '#core/migration/together.ts';
import { keeperApplication } from '#core/session-names.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import type { Kept, Part, Piece } from './piece.ts';

const PLACE = 'source';
const SESSIONS_SQL = `SELECT pid, application_name AS name FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND (application_name = $1 OR application_name = $2)`;

/** Slot, publication, keepers' sessions, the event triggers and a migration's guards of a pipeline's source. */
export async function openSourcePart(config: Config, isForced: boolean): Promise<Part> {
  const { url, slot, publication } = config.source;
  const application = `restage ${config.name} teardown`;
  const producer = `restage ${config.name} producer`;
  const client = await connectPg({ url, purpose: 'source', application });
  const kept: Kept[] = [];
  const pieces = [
    ...(await findKeepers(client, config)),
    ...(await findSlot(client, slot, kept)),
    ...(await findPublication(client, config.name, publication, kept)),
    ...(await findTrigger(client, slot, producer, kept)),
    ...(await findSides(client, config, isForced, kept)),
  ];
  const sessions = await client.query<{ name: string }>(SESSIONS_SQL, [producer, `${producer} lease`]);
  const active = sessions.rows.length > 0 ? ['producer'] : [];
  return { pieces, kept, active, close: () => client.end() };
}

async function findSides(client: pg.Client, config: Config, isForced: boolean, kept: Kept[]): Promise<Piece[]> {
  const pieces: Piece[] = [];
  for (const key of sourceKeys(config)) pieces.push(...(await findSide(client, key, isForced, kept)));
  return pieces;
}

/** What a migration put there. A side that is closed stays closed, so that nobody writes to a database that was left. */
async function findSide(client: pg.Client, pipeline: string, isForced: boolean, kept: Kept[]): Promise<Piece[]> {
  const side = await readSide(client, pipeline);
  if (side === null) return [];
  const piece = { kind: 'guards', name: `of the migration, and rows of ${pipeline} in schema restage`, place: PLACE };
  if (!side.isWritable && !isForced) {
    kept.push({ ...piece, why: 'they keep this side closed for writes; --force takes them away and opens it' });
    return [];
  }
  return [{ ...piece, remove: () => forgetPipeline(client, pipeline) }];
}

async function findKeepers(client: pg.Client, { name }: Config): Promise<Piece[]> {
  const keeper = keeperApplication(name);
  const { rows } = await client.query<{ pid: number }>(SESSIONS_SQL, [keeper, keeper]);
  return rows.map(({ pid }) => ({
    kind: 'session',
    name: `${keeper}, process ${pid}`,
    place: PLACE,
    remove: async () => void (await client.query('SELECT pg_terminate_backend($1, 10000)', [pid])),
  }));
}

async function findSlot(client: pg.Client, name: string, kept: Kept[]): Promise<Piece[]> {
  const slot = await readSlot(client, name);
  if (slot === null) return [];
  const [row] = (await client.query<{ database: string }>('SELECT current_database()::text AS database')).rows;
  if (slot.plugin !== 'pgoutput' || slot.database !== row?.database) {
    kept.push({ kind: 'slot', name, place: PLACE, why: 'it is of another plug-in or database, so not ours' });
    return [];
  }
  return [{ kind: 'slot', name, place: PLACE, remove: () => dropSlot(client, name) }];
}

async function findPublication(client: pg.Client, pipeline: string, name: string, kept: Kept[]): Promise<Piece[]> {
  const isOwn = await isOwnPublication(client, name, pipeline);
  if (isOwn === null) return [];
  if (!isOwn) {
    const why = `Restage did not make it; as its owner: DROP PUBLICATION ${quoteIdentifier(name)};`;
    kept.push({ kind: 'publication', name, place: PLACE, why });
    return [];
  }
  const remove = async (): Promise<void> => {
    await client.query(`DROP PUBLICATION IF EXISTS ${quoteIdentifier(name)}`);
  };
  return [{ kind: 'publication', name, place: PLACE, remove }];
}

/** They serve every pipeline of their database: the last one takes them along, where the role may. */
async function findTrigger(client: pg.Client, slot: string, producer: string, kept: Kept[]): Promise<Piece[]> {
  const found = await findDdlTrigger(client, slot, producer);
  if (found === null) return [];
  const piece = { kind: 'event trigger', name: 'restage_rewritten and restage_altered', place: PLACE };
  const needed = `other pipelines or slots of this database may need them; when none does: ${DROP_DDL_TRIGGER_SQL}`;
  if (found.others > 0) {
    kept.push({ ...piece, why: needed });
    return [];
  }
  if (!found.mayDrop) {
    kept.push({ ...piece, why: `the role does not own them; as their owner: ${DROP_DDL_TRIGGER_SQL}` });
    return [];
  }
  return [{ ...piece, remove: () => dropDdlTrigger(client) }];
}

/** @throws RestageError usage: a slot is not dropped under a producer. */
export function requireNobodyActive(active: readonly string[]): void {
  if (active.length === 0) return;
  throw new RestageError('usage', `the pipeline is at work: ${active.join(', ')}`, {
    fix: 'stop it first, or let teardown do it: --force',
  });
}
