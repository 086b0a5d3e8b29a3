import type pg from 'pg';
import type { SchemaObject } from '#core/schema-diff.ts';

/** Schemas of the server and of Restage itself. */
const OWN = `n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'restage')`;
/** What came with an extension is told by the extension. */
const IS_FREE = (catalog: string, oid: string): string =>
  `NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '${catalog}'::regclass AND d.objid = ${oid} AND d.deptype = 'e')`;

/** One row for each object: kind, name, definition, and the table that it belongs to. Names are qualified, for the search path is empty. */
const SQL = `
  SELECT 'extension' AS kind, e.extname::text AS name, e.extversion AS definition, NULL::text AS schema, NULL::text AS table FROM pg_extension e
  UNION ALL
  SELECT 'type', format('%I.%I', n.nspname, t.typname),
         CASE t.typtype WHEN 'e' THEN 'enum ' || coalesce((SELECT string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid), '')
           ELSE 'domain over ' || format_type(t.typbasetype, t.typtypmod)
             || coalesce((SELECT ' ' || string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY pg_get_constraintdef(k.oid)) FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'), '') END,
         NULL, NULL
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype IN ('e', 'd') AND ${OWN} AND ${IS_FREE('pg_type', 't.oid')}
  UNION ALL
  SELECT 'column', quote_ident(a.attname),
         format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
           || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation::text ELSE '' END
           || CASE WHEN a.attidentity <> '' THEN ' IDENTITY ' || CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END
                   WHEN a.attgenerated <> '' THEN ' GENERATED ' || pg_get_expr(f.adbin, f.adrelid)
                   WHEN f.oid IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(f.adbin, f.adrelid) ELSE '' END,
         n.nspname, c.relname
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
   WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND ${OWN}
  UNION ALL
  SELECT 'constraint', pg_get_constraintdef(k.oid), '', n.nspname, c.relname
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND ${OWN}
  UNION ALL
  SELECT 'index', regexp_replace(pg_get_indexdef(i.indexrelid), '^(CREATE (UNIQUE )?INDEX) .*? ON ', '\\1 ON '), '', n.nspname, c.relname
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE i.indisvalid AND c.relkind IN ('r', 'p') AND ${OWN} AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
  UNION ALL
  SELECT 'trigger', quote_ident(g.tgname), pg_get_triggerdef(g.oid) || CASE g.tgenabled WHEN 'O' THEN '' ELSE ' enabled ' || g.tgenabled::text END, n.nspname, c.relname
    FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE NOT g.tgisinternal AND g.tgname !~ '^restage_guard_' AND ${OWN}
  UNION ALL
  SELECT 'policy', quote_ident(p.polname),
         concat_ws(' ', p.polcmd::text, 'USING', pg_get_expr(p.polqual, p.polrelid), 'CHECK', pg_get_expr(p.polwithcheck, p.polrelid)), n.nspname, c.relname
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${OWN}
  UNION ALL
  SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, format('%I.%I', n.nspname, c.relname), md5(pg_get_viewdef(c.oid)), NULL, NULL
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND ${OWN} AND ${IS_FREE('pg_class', 'c.oid')}
  UNION ALL
  SELECT 'sequence', format('%I.%I', n.nspname, c.relname), format('%s from %s by %s', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement), owner_schema.nspname, owner_table.relname
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.refclassid = 'pg_class'::regclass AND o.deptype = 'a'
    LEFT JOIN pg_class owner_table ON owner_table.oid = o.refobjid LEFT JOIN pg_namespace owner_schema ON owner_schema.oid = owner_table.relnamespace
   WHERE ${OWN} AND ${IS_FREE('pg_class', 'c.oid')} AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'i')
  UNION ALL
  SELECT 'function', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
         md5(concat_ws(' ', p.prosrc, p.probin, p.prolang::text, p.provolatile, p.prosecdef, array_to_string(p.proconfig, ','))), NULL, NULL
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${OWN} AND ${IS_FREE('pg_proc', 'p.oid')}
   ORDER BY 1, 4, 5, 2`;

/** What a database has of its own, as its catalog prints it. Reads only. */
export async function readSchemaObjects(client: pg.ClientBase): Promise<SchemaObject[]> {
  const { rows } = await client.query<{
    kind: string;
    name: string;
    definition: string;
    schema: string | null;
    table: string | null;
  }>(SQL);
  return rows.map(({ kind, name, definition, schema, table }) => ({
    kind,
    name,
    definition,
    table: schema === null || table === null ? null : { schema, table },
  }));
}
