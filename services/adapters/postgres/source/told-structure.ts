import type pg from 'pg';
import type { Relation } from './pgoutput-message.ts';

/**
 * A table's name, identity and columns as text, of a pg_class c and its pg_namespace n: what the event trigger writes into the stream, and
 * what the catalog is asked for beside it. The columns of the identity are those that a Relation message marks (PostgreSQL: "Logical
 * Replication Message Formats").
 */
export const TOLD_STRUCTURE_SQL = `SELECT jsonb_build_object('oid', c.oid::int8, 'schema', n.nspname, 'table', c.relname, 'identity', c.relreplident,
      'columns', coalesce(jsonb_agg(jsonb_build_array(a.attname, a.atttypid::int8, a.atttypmod, a.attgenerated,
        c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i
          WHERE i.indrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate WHEN 'i' THEN i.indisreplident ELSE false END))
        ORDER BY a.attnum) FILTER (WHERE a.attname IS NOT NULL), '[]'))::text
   FROM (SELECT) AS one LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped`;

type ToldColumn = readonly [name: string, typeOid: number, typeModifier: number, generated: string, isKey: boolean];

interface ToldStructure {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly identity: Relation['replicaIdentity'];
  readonly columns: readonly ToldColumn[];
}

/**
 * What a Relation message would say, of a table that is told to have been altered; null where the catalog says another thing by now, for then
 * something later tells of it. So nothing is taken from a message that anybody may write, but that it is time to look. Null too where the
 * publication sends a part of the columns, which only the server knows to tell.
 */
export async function readTold(client: pg.ClientBase, told: string, publication: string): Promise<Relation | null> {
  const oid = /"oid": (\d{1,10})[,}]/.exec(told)?.[1];
  if (oid === undefined) return null;
  const { rows } = await client.query<{ now: string; is_cut: boolean; generated: string | null }>(
    `SELECT (${TOLD_STRUCTURE_SQL}) AS now,
            EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
                     WHERE p.pubname = $2 AND r.prrelid = c.oid AND to_jsonb(r) ->> 'prattrs' IS NOT NULL) AS is_cut,
            (SELECT to_jsonb(p) ->> 'pubgencols' FROM pg_publication p WHERE p.pubname = $2) AS generated
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::text::oid AND c.relkind = 'r'`,
    [oid, publication],
  );
  const [row] = rows;
  if (row === undefined || row.now !== told || row.is_cut) return null;
  const { schema, table, identity, columns, ...structure } = JSON.parse(row.now) as ToldStructure;
  const isSent = ([, , , generated]: ToldColumn): boolean =>
    generated === '' || (generated === 's' && row.generated === 's');
  return {
    oid: structure.oid,
    schema,
    table,
    replicaIdentity: identity,
    columns: columns
      .filter(isSent)
      .map(([name, typeOid, typeModifier, , isKey]) => ({ name, typeOid, typeModifier, isKey })),
  };
}
