import type pg from 'pg';
import { sqlStateOf } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { compareObjects, type ObjectDigests } from '#core/migration/object-plan.ts';
import { runSingle } from '../single-statement.ts';
import { underTerm } from './side-state.ts';

/** A database whose large objects are meant, and the name that its marks of them have. */
export interface ObjectSide {
  readonly client: pg.Client;
  readonly key: string;
}

export interface ObjectCopy {
  readonly objects: number;
  readonly copied: number;
  readonly removed: number;
  /** Owners and grants that the other side does not know, or may not give. */
  readonly rightsLeft: number;
}

const TABLE = `CREATE TABLE IF NOT EXISTS restage.large_object (
  pipeline text, loid oid, PRIMARY KEY (pipeline, loid))`;
/** One statement compares so many, with a descriptor each. */
const BATCH = 500;
const PIECE = 1024 * 1024;
/** PostgreSQL: "Large Objects, Client Interfaces": INV_READ and INV_WRITE. */
const READ = 0x4_0000;
const WRITE = 0x2_0000;
/** An object went between two looks; outside the fence its owner may do that. */
const LOOKS = 5;

/** Digests of pieces, so that an object of any size takes little memory. */
const DIGESTS = `SELECT m.oid::text AS oid, (
    SELECT md5(string_agg(md5(lo_get(m.oid, n * ${PIECE}, ${PIECE})), '' ORDER BY n))
      FROM generate_series(0::bigint, (lo_lseek64(lo_open(m.oid, ${READ}), 0, 2) - 1) / ${PIECE}) n) AS digest
  FROM pg_largeobject_metadata m WHERE m.oid = ANY ($1::oid[])`;

async function listObjects(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ oid: string }>(
    'SELECT oid::text AS oid FROM pg_largeobject_metadata ORDER BY 1',
  );
  return rows.map(({ oid }) => oid);
}

/** Of those that are there. @throws RestageError switch_refused where the role may not read one. */
async function readDigests(client: pg.ClientBase, oids: readonly string[]): Promise<ObjectDigests> {
  const digests = new Map<string, string>();
  for (let at = 0; at < oids.length; at += BATCH)
    for (const { oid, digest } of await readBatch(client, oids.slice(at, at + BATCH))) digests.set(oid, digest);
  return digests;
}

async function readBatch(client: pg.ClientBase, oids: readonly string[]): Promise<{ oid: string; digest: string }[]> {
  for (let look = 1; ; look += 1) {
    try {
      return (await client.query<{ oid: string; digest: string }>(DIGESTS, [oids])).rows;
    } catch (error) {
      if (sqlStateOf(error) === '42501') throw unreadable(error);
      if (sqlStateOf(error) !== '42704' || look >= LOOKS) throw error;
    }
  }
}

/**
 * Makes the large objects of `to` those of `from`: what is new or differs is copied, what an earlier copy brought and is no longer there is
 * removed. May be called again and again; while `from` is written to the copy is of no one moment.
 * @throws RestageError operator_lost; switch_refused where `to` has another object under the same OID, or one cannot be read.
 */
export async function copyLargeObjects(
  from: ObjectSide,
  to: ObjectSide,
  term: number,
  signal: AbortSignal,
): Promise<ObjectCopy> {
  const all = await listObjects(from.client);
  const marked = await readMarks(to);
  if (all.length === 0 && marked.size === 0) return { objects: 0, copied: 0, removed: 0, rightsLeft: 0 };
  const [theirs, ours] = await readBoth(from, to, [...marked, ...all]);
  await prepare(to.client);
  const plan = compareObjects(theirs, ours, marked);
  const [conflict] = plan.conflicts;
  if (conflict !== undefined)
    throw new RestageError(
      'switch_refused',
      `${plan.conflicts.length} large objects are at the other side already, with other content`,
      {
        where: `large object ${conflict}`,
        fix: `SELECT lo_unlink(${conflict}) there, if nobody needs it; or targets[].largeObjects: leave`,
      },
    );
  let rightsLeft = 0;
  for (const oid of plan.copied) {
    signal.throwIfAborted();
    await underTerm(to.client, to.key, term, async () => {
      await copyObject(from.client, to.client, oid, ours.has(oid));
      if (!ours.has(oid)) rightsLeft += await copyRights(from.client, to.client, oid);
      await mark(to, [oid]);
    });
  }
  await underTerm(to.client, to.key, term, async () => {
    for (const oid of plan.removed)
      await to.client.query('SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = $1', [oid]);
    await mark(to, [...theirs.keys()]);
    await to.client.query('DELETE FROM restage.large_object WHERE pipeline = $1 AND loid = ANY ($2::oid[])', [
      to.key,
      plan.removed,
    ]);
  });
  return { objects: theirs.size, copied: plan.copied.length, removed: plan.removed.length, rightsLeft };
}

/**
 * The same once neither side changes: afterwards both are equal, and both know the objects for the migration's, so that a switch back takes
 * away what was removed. @throws RestageError switch_refused where they still differ.
 */
export async function settleLargeObjects(
  from: ObjectSide,
  to: ObjectSide,
  term: number,
  signal: AbortSignal,
): Promise<ObjectCopy> {
  const copy = await copyLargeObjects(from, to, term, signal);
  if (copy.objects === 0) return copy;
  const [theirs, ours] = await readBoth(from, to, await listObjects(from.client));
  const left = compareObjects(theirs, ours, new Set(ours.keys()));
  if (left.copied.length > 0)
    throw new RestageError('switch_refused', `${left.copied.length} large objects changed behind the fence`, {
      where: `large object ${left.copied[0] ?? ''}`,
      fix: 'no guard stands before large objects: stop whoever writes to them by the hook',
    });
  await prepare(from.client);
  await underTerm(from.client, from.key, term, () => mark(from, [...theirs.keys()]));
  return copy;
}

/** Strangers of the other side are none of our business: the role may not be allowed to read them. */
async function readBoth(
  from: ObjectSide,
  to: ObjectSide,
  oids: readonly string[],
): Promise<[ObjectDigests, ObjectDigests]> {
  return Promise.all([readDigests(from.client, oids), readDigests(to.client, oids)]);
}

async function hasMarks(client: pg.ClientBase): Promise<boolean> {
  return (await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.large_object')`)).rowCount === 1;
}

async function prepare(client: pg.ClientBase): Promise<void> {
  if (!(await hasMarks(client))) await client.query(TABLE);
}

async function readMarks({ client, key }: ObjectSide): Promise<Set<string>> {
  if (!(await hasMarks(client))) return new Set();
  const { rows } = await client.query<{ oid: string }>(
    'SELECT loid::text AS oid FROM restage.large_object WHERE pipeline = $1',
    [key],
  );
  return new Set(rows.map(({ oid }) => oid));
}

async function mark({ client, key }: ObjectSide, oids: readonly string[]): Promise<void> {
  await client.query(
    'INSERT INTO restage.large_object SELECT $1, oid FROM unnest($2::oid[]) AS o(oid) ON CONFLICT DO NOTHING',
    [key, oids],
  );
}

async function copyObject(from: pg.ClientBase, to: pg.ClientBase, oid: string, isThere: boolean): Promise<void> {
  if (isThere) await to.query(`SELECT lo_truncate64(lo_open($1::oid, ${WRITE}), 0)`, [oid]);
  else await to.query('SELECT lo_create($1::oid)', [oid]);
  for (let at = 0; ; at += PIECE) {
    const { rows } = await from.query<{ piece: Buffer }>('SELECT lo_get($1::oid, $2::bigint, $3) AS piece', [
      oid,
      at,
      PIECE,
    ]);
    const piece = rows[0]?.piece ?? Buffer.alloc(0);
    if (piece.length > 0) await to.query('SELECT lo_put($1::oid, $2::bigint, $3)', [oid, at, piece]);
    if (piece.length < PIECE) return;
  }
}

/** Grants first: what another role owns takes none of ours. The number of those that were refused. */
async function copyRights(from: pg.ClientBase, to: pg.ClientBase, oid: string): Promise<number> {
  const { rows } = await from.query<{ sql: string }>(
    `SELECT format('GRANT %s ON LARGE OBJECT %s TO %s', a.privilege_type, m.oid,
                   CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS sql
       FROM pg_largeobject_metadata m, aclexplode(m.lomacl) a WHERE m.oid = $1 AND a.grantee <> m.lomowner
      UNION ALL
     SELECT format('ALTER LARGE OBJECT %s OWNER TO %I', m.oid, pg_get_userbyid(m.lomowner)) FROM pg_largeobject_metadata m WHERE m.oid = $1`,
    [oid],
  );
  let left = 0;
  for (const { sql } of rows) {
    await to.query('SAVEPOINT rights');
    try {
      await runSingle(to, sql);
    } catch (error) {
      if (!['42501', '42704'].includes(sqlStateOf(error))) throw error;
      await to.query('ROLLBACK TO SAVEPOINT rights');
      left += 1;
    }
  }
  return left;
}

function unreadable(cause: unknown): RestageError {
  return new RestageError(
    'switch_refused',
    `a large object cannot be read: ${cause instanceof Error ? cause.message : ''}`,
    {
      fix: 'GRANT SELECT ON LARGE OBJECT … TO the role, as restage check names them; or targets[].largeObjects: leave',
      cause,
    },
  );
}
