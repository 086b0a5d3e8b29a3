import { formatTable, quoteIdentifier, quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import type { CheckContext } from './check-context.ts';
import { CHOSEN, namesOf } from './chosen-tables.ts';
import { listSome, type Check, type Finding } from './finding.ts';

const WIDE_COLUMNS = 30;

/** The chosen tables: may we read them, do their changes name their rows, what stays outside. */
export const SCOPE_CHECKS: readonly Check[] = [
  { id: 'scope.select', severity: 'block', run: checkSelect },
  { id: 'scope.dump', severity: 'block', run: checkDump },
  { id: 'scope.sequences', severity: 'warn', run: checkSequences },
  { id: 'scope.row_security', severity: 'block', run: checkRowSecurity },
  { id: 'scope.replica_identity', severity: 'block', run: checkIdentity },
  { id: 'scope.identity_full', severity: 'warn', run: checkFull },
  { id: 'scope.keyless', severity: 'warn', run: checkKeyless },
  { id: 'scope.unlogged', severity: 'warn', run: checkUnlogged },
  { id: 'scope.large_objects', severity: 'warn', run: checkLargeObjects },
  { id: 'scope.foreign_keys', severity: 'warn', run: checkForeignKeys },
];

async function checkSelect({ source, sourceRole, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName & { usage: boolean; readable: boolean }>(
    `SELECT t.schema, t.name AS table, has_schema_privilege(n.oid, 'usage') AS usage, has_table_privilege(c.oid, 'select') AS readable ${CHOSEN}`,
    namesOf(tables),
  );
  const role = quoteIdentifier(sourceRole);
  const schemas = [...new Set(rows.filter((row) => !row.usage).map((row) => row.schema))];
  const unreadable = rows.filter((row) => !row.readable);
  const findings: Finding[] = [];
  if (schemas.length > 0) {
    findings.push({
      what: 'the role may not look into schemas of chosen tables',
      evidence: listSome(schemas),
      fix: `GRANT USAGE ON SCHEMA ${schemas.map(quoteIdentifier).join(', ')} TO ${role};`,
    });
  }
  if (unreadable.length > 0) {
    findings.push({
      what: `the role may not read ${unreadable.length} of ${rows.length} chosen tables`,
      evidence: listSome(unreadable.map(formatTable)),
      fix: `GRANT SELECT ON ${unreadable.map(quoteTable).join(', ')} TO ${role};`,
    });
  }
  return findings;
}

/** pg_dump locks every table of the database before it reads any structure (PostgreSQL: "pg_dump", Notes). */
async function checkDump({ source, sourceRole, tables, targets }: CheckContext): Promise<Finding[]> {
  if (!targets.some((target) => target.config.schema === 'copy')) return [];
  const { rows } = await source.query<TableName>(
    `SELECT n.nspname AS schema, c.relname AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'restage') AND n.nspname !~ '^pg_(toast|temp)'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        AND NOT (has_table_privilege(c.oid, 'select') AND has_schema_privilege(n.oid, 'usage')) ORDER BY 1, 2`,
  );
  const chosen = new Set(tables.map(tableKey));
  const others = rows.filter((row) => !chosen.has(tableKey(row)));
  if (others.length === 0) return [];
  const schemas = [...new Set(others.map((row) => quoteIdentifier(row.schema)))].join(', ');
  const role = quoteIdentifier(sourceRole);
  return [
    {
      what: 'pg_dump, which schema: copy uses, must lock every table of the source, and the role may not read some that were not chosen',
      evidence: listSome(others.map(formatTable)),
      fix: `GRANT USAGE ON SCHEMA ${schemas} TO ${role}; GRANT SELECT ON ${others.map(quoteTable).join(', ')} TO ${role}; -- or schema: create`,
    },
  ];
}

async function checkSequences({ source, sourceRole, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName>(
    `SELECT DISTINCT sn.nspname AS schema, s.relname AS table ${CHOSEN}
       JOIN pg_depend d ON d.refobjid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
       JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace
      WHERE NOT has_table_privilege(s.oid, 'select')`,
    namesOf(tables),
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'the role may not read sequences of chosen tables, so their values cannot be carried over',
          evidence: listSome(rows.map(formatTable)),
          fix: `GRANT SELECT ON SEQUENCE ${rows.map(quoteTable).join(', ')} TO ${quoteIdentifier(sourceRole)};`,
        },
      ];
}

async function checkRowSecurity({ source, sourceRole, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName>(
    `SELECT t.schema, t.name AS table ${CHOSEN} WHERE row_security_active(c.oid)`,
    namesOf(tables),
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'row security hides rows of chosen tables from the role: the copy would lack them',
          evidence: listSome(rows.map(formatTable)),
          fix: `ALTER ROLE ${quoteIdentifier(sourceRole)} BYPASSRLS;`,
        },
      ];
}

async function checkIdentity({ source, tables }: CheckContext): Promise<Finding[]> {
  const nameless = tables.filter((table) => table.identity.kind === 'nothing');
  if (nameless.length === 0) return [];
  // Tables that only ever get rows do no harm, but nothing promises that they stay so.
  const { rows } = await source.query<TableName & { changes: string }>(
    `SELECT t.schema, t.name AS table, coalesce(s.n_tup_upd + s.n_tup_del, 0)::text AS changes ${CHOSEN}
       LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid`,
    namesOf(nameless),
  );
  return [
    {
      what: 'an UPDATE or DELETE on these published tables will be refused at the source: they have no usable replica identity',
      evidence: listSome(rows.map((row) => `${formatTable(row)} (${row.changes} updates and deletes so far)`)),
      fix: nameless
        .map((table) =>
          table.primaryKey.length > 0
            ? `ALTER TABLE ${quoteTable(table)} REPLICA IDENTITY DEFAULT;`
            : `ALTER TABLE ${quoteTable(table)} REPLICA IDENTITY FULL; -- or give it a primary key`,
        )
        .join('\n'),
    },
  ];
}

async function checkFull({ tables }: CheckContext): Promise<Finding[]> {
  const wide = tables.filter(
    (table) => table.identity.isFull && table.primaryKey.length > 0 && table.columns.length >= WIDE_COLUMNS,
  );
  return wide.length === 0
    ? []
    : [
        {
          what: 'REPLICA IDENTITY FULL writes every old row of wide tables into the WAL',
          evidence: listSome(wide.map((table) => `${formatTable(table)} (${table.columns.length} columns)`)),
          fix: wide
            .map(
              (table) =>
                `ALTER TABLE ${quoteTable(table)} REPLICA IDENTITY DEFAULT; -- unless a rule's where needs the old row`,
            )
            .join('\n'),
        },
      ];
}

async function checkKeyless({ tables }: CheckContext): Promise<Finding[]> {
  const keyless = tables.filter((table) => table.primaryKey.length === 0 && table.identity.kind !== 'index');
  return keyless.length === 0
    ? []
    : [
        {
          what: 'tables without a key are applied row by row, each change searching the whole table',
          evidence: listSome(keyless.map(formatTable)),
          fix: keyless
            .map((table) => `give ${formatTable(table)} a primary key over the columns that name a row`)
            .join('\n'),
        },
      ];
}

/** The catalog reader leaves unlogged tables out, so these are looked for in the schemas of the chosen ones. */
async function checkUnlogged({ source, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName>(
    `SELECT n.nspname AS schema, c.relname AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND n.nspname = ANY ($1::text[]) ORDER BY 1, 2`,
    [[...new Set(tables.map((table) => table.schema))]],
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'unlogged tables write no WAL: they are not captured',
          evidence: listSome(rows.map(formatTable)),
          fix: rows.map((row) => `ALTER TABLE ${quoteTable(row)} SET LOGGED;`).join('\n'),
        },
      ];
}

async function checkLargeObjects({ source, sourceRole, targets }: CheckContext): Promise<Finding[]> {
  const [row] = (
    await source.query<{ n: string; unreadable: string[] }>(
      `SELECT count(*)::text AS n, coalesce(array_agg(m.oid::text ORDER BY m.oid) FILTER (WHERE NOT pg_has_role(m.lomowner, 'usage')
                AND current_setting('is_superuser') = 'off' AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a
                  WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'usage')))), '{}') AS unreadable
         FROM pg_largeobject_metadata m`,
    )
  ).rows;
  if (row === undefined || row.n === '0') return [];
  const copying = targets.filter(({ config }) => config.largeObjects !== 'leave');
  const evidence = `${row.n} large objects`;
  if (copying.length === 0)
    return [
      {
        what: 'large objects stay behind, as targets[].largeObjects says',
        evidence,
        fix: 'nothing, if nobody needs them',
      },
    ];
  if (row.unreadable.length > 0)
    return [
      {
        what: 'the role may not read large objects, and a cutover could not copy them',
        evidence: `${row.unreadable.length} of ${evidence}: ${listSome(row.unreadable)}`,
        fix: `GRANT SELECT ON LARGE OBJECT ${row.unreadable.join(', ')} TO ${quoteIdentifier(sourceRole)}; -- or targets[].largeObjects: leave`,
      },
    ];
  return [
    {
      severity: 'info',
      what: 'large objects are never decoded: a cutover copies them before its fence, and compares all of them within it',
      evidence,
      fix: 'nothing; many of them make the fence long: bytea columns are captured as any other',
    },
  ];
}

async function checkForeignKeys({ source, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName & { name: string; other: string }>(
    `SELECT t.schema, t.name AS table, con.conname AS name, format('%I.%I', fn.nspname, f.relname) AS other ${CHOSEN}
       JOIN pg_constraint con ON con.conrelid = c.oid AND con.contype = 'f' AND con.conparentid = 0
       JOIN pg_class f ON f.oid = con.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
      WHERE f.relkind = 'r' AND NOT EXISTS (SELECT FROM unnest($1::text[], $2::text[]) AS o(schema, name) WHERE o.schema = fn.nspname AND o.name = f.relname)
      ORDER BY 1, 2, 3`,
    namesOf(tables),
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'foreign keys point to tables that were not chosen: the target goes without these keys',
          evidence: listSome(rows.map((row) => `${formatTable(row)}: ${row.name} to ${row.other}`)),
          fix: `add to source.tables: ${[...new Set(rows.map((row) => row.other))].join(', ')}`,
        },
      ];
}
