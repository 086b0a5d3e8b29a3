import { quoteIdentifier, quoteTable, formatTable, type TableName } from '#core/table-name.ts';
import type { CheckContext } from './check-context.ts';
import { CHOSEN, namesOf } from './chosen-tables.ts';
import { listSome, type Check, type Finding } from './finding.ts';

/** What the source's structure has that streams no rows, or that behaves otherwise at a copy. */
export const STRUCTURE_CHECKS: readonly Check[] = [
  { id: 'scope.outside_wal', severity: 'warn', run: checkOutsideWal },
  { id: 'scope.materialized_views', severity: 'info', run: checkMaterialized },
  { id: 'scope.computed', severity: 'info', run: checkComputed },
  { id: 'scope.sequence_limits', severity: 'warn', run: checkSequenceLimits },
  { id: 'scope.constraints', severity: 'warn', run: checkConstraints },
  { id: 'scope.special_indexes', severity: 'info', run: checkIndexes },
  { id: 'scope.partitions', severity: 'warn', run: checkPartitions },
  { id: 'scope.policies', severity: 'warn', run: checkPolicies },
  { id: 'scope.wide_rows', severity: 'warn', run: checkWideRows },
  { id: 'scope.alike_names', severity: 'warn', run: checkAlikeNames },
  { id: 'scope.dependants', severity: 'info', run: checkDependants },
];

const USER_SCHEMAS = `n.nspname NOT IN ('pg_catalog', 'information_schema', 'restage') AND n.nspname !~ '^pg_(toast|temp)'`;
/** Members of extensions come with CREATE EXTENSION. */
const NOT_OF_EXTENSION = `NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = c.oid AND e.classid = 'pg_class'::regclass AND e.deptype = 'e')`;
async function checkOutsideWal({ source }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName>(
    `SELECT n.nspname AS schema, c.relname AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'f' AND ${USER_SCHEMAS} AND ${NOT_OF_EXTENSION} ORDER BY 1, 2`,
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'foreign tables hold no rows here: nothing of them is captured',
          evidence: listSome(rows.map(formatTable)),
          fix: 'make the server and the user mapping at the target, or leave these tables to the database that has them',
        },
      ];
}

async function checkMaterialized({ source }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName>(
    `SELECT n.nspname AS schema, c.relname AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'm' AND ${USER_SCHEMAS} AND ${NOT_OF_EXTENSION} ORDER BY c.oid`,
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'materialized views are not captured: schema copy fills them at the end of the load, and a cutover makes those of moved tables anew before its fence',
          evidence: listSome(rows.map(formatTable)),
          fix: 'nothing, where the role may refresh them; whose rows must be of the very switch is to be refreshed after it',
        },
      ];
}

function checkComputed({ tables }: CheckContext): Promise<Finding[]> {
  const columns = tables.flatMap((table) =>
    table.columns
      .filter(({ generated, identity }) => generated || identity === 'always')
      .map(({ name, generated }) => `${formatTable(table)}.${name} (${generated ? 'generated' : 'identity'})`),
  );
  return Promise.resolve(
    columns.length === 0
      ? []
      : [
          {
            what: 'generated columns are computed by the target itself; values of identity columns are carried over',
            evidence: listSome(columns),
            fix: 'nothing, while both sides compute alike: a function in an expression must be the same at the target',
          },
        ],
  );
}

/** A sequence of int4 with four fifths used up, one that starts over, or one that hands out blocks. */
async function checkSequenceLimits({ source }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName & { used: number; cycle: boolean; cache: string }>(
    `SELECT schemaname AS schema, sequencename AS table, cycle, cache_size::text AS cache,
            floor(100 * (coalesce(last_value, start_value)::numeric - min_value) / (max_value::numeric - min_value))::int AS used
       FROM pg_sequences WHERE max_value > min_value AND increment_by > 0 ORDER BY 1, 2`,
  );
  const full = rows.filter((row) => row.used >= 80 && !row.cycle);
  const odd = rows.filter((row) => row.cycle || row.cache !== '1');
  const findings: Finding[] = [];
  if (full.length > 0)
    findings.push({
      what: 'sequences are nearly used up: the switch adds a margin to them',
      evidence: listSome(full.map((row) => `${formatTable(row)} ${row.used} %`)),
      fix: full.map((row) => `ALTER SEQUENCE ${quoteTable(row)} AS bigint; -- and the column that it fills`).join('\n'),
    });
  if (odd.length > 0)
    findings.push({
      severity: 'info',
      what: 'sequences that start over, or hand out blocks: their last value says less than that of others',
      evidence: listSome(
        odd.map(
          (row) => `${formatTable(row)}${row.cycle ? ' CYCLE' : ''}${row.cache === '1' ? '' : ` CACHE ${row.cache}`}`,
        ),
      ),
      fix: 'nothing; look at them once after the switch',
    });
  return findings;
}

async function checkConstraints({ source, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName & { name: string }>(
    `SELECT t.schema, t.name AS table, k.conname AS name ${CHOSEN} JOIN pg_constraint k ON k.conrelid = c.oid
      WHERE NOT k.convalidated ORDER BY 1, 2, 3`,
    namesOf(tables),
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'constraints that were never validated: rows that break them are carried over, and would fail a validation at the target',
          evidence: listSome(rows.map((row) => `${formatTable(row)}: ${row.name}`)),
          fix: rows
            .map((row) => `ALTER TABLE ${quoteTable(row)} VALIDATE CONSTRAINT ${quoteIdentifier(row.name)};`)
            .join('\n'),
        },
      ];
}

async function checkIndexes({ source, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName & { name: string }>(
    `SELECT t.schema, t.name AS table, x.relname AS name ${CHOSEN} JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid
      WHERE i.indisunique AND NOT i.indisprimary AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL OR i.indisexclusion) ORDER BY 1, 2, 3`,
    namesOf(tables),
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'unique indexes over parts of a table or over expressions: values that change places in one transaction are applied row by row',
          evidence: listSome(rows.map((row) => `${formatTable(row)}: ${row.name}`)),
          fix: 'nothing; such transactions take longer',
        },
      ];
}

async function checkPartitions({ source, config, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName & { parts: number }>(
    `SELECT rn.nspname AS schema, r.relname AS table, count(*)::int AS parts ${CHOSEN}
       JOIN LATERAL (SELECT pg_partition_root(c.oid) AS root WHERE c.relispartition OR c.relkind = 'p') p ON true
       JOIN pg_class r ON r.oid = p.root JOIN pg_namespace rn ON rn.oid = r.relnamespace GROUP BY 1, 2 ORDER BY 1, 2`,
    namesOf(tables),
  );
  if (rows.length === 0) return [];
  const [partman] = (await source.query("SELECT FROM pg_extension WHERE extname = 'pg_partman'")).rows;
  const isLeaves = config.source.partitions === 'leaves';
  return [
    {
      severity: isLeaves && partman !== undefined ? 'warn' : 'info',
      what: isLeaves
        ? 'each partition is a table to the pipeline: those that come later are loaded when they match source.tables'
        : 'partitioned tables are taken as one; where a partition is attached, dropped or truncated by itself they are loaded again',
      evidence: `${listSome(rows.map(formatTable))}${partman === undefined ? '' : '; pg_partman is installed'}`,
      fix: isLeaves
        ? 'source.partitions: roots, where the target may be partitioned otherwise'
        : 'plan no such statement for the time of the move',
    },
  ];
}

async function checkPolicies({ source, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName>(
    `SELECT DISTINCT t.schema, t.name AS table ${CHOSEN} JOIN pg_policy p ON p.polrelid = c.oid ORDER BY 1, 2`,
    namesOf(tables),
  );
  const definers = await source.query<TableName>(
    `SELECT n.nspname AS schema, p.proname AS table FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE p.prosecdef AND ${USER_SCHEMAS} AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search\\_path=%')
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = p.oid AND e.classid = 'pg_proc'::regclass AND e.deptype = 'e') ORDER BY 1, 2`,
  );
  const findings: Finding[] = [];
  if (rows.length > 0)
    findings.push({
      severity: 'info',
      what: 'row security: schema copy carries the policies, schema create does not',
      evidence: listSome(rows.map(formatTable)),
      fix: 'see that the roles that the policies name are at the target',
    });
  if (definers.rows.length > 0)
    findings.push({
      what: 'SECURITY DEFINER functions without a search_path of their own run with that of whoever calls them',
      evidence: listSome(definers.rows.map(formatTable)),
      fix: definers.rows
        .map((row) => `ALTER FUNCTION ${quoteTable(row)} SET search_path = pg_catalog, public;`)
        .join('\n'),
    });
  return findings;
}

const WIDE_BYTES = 1_000_000;

/** By the mean of a table, TOAST included: single wide values in many small ones do not show. */
async function checkWideRows({ source, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName & { bytes: string }>(
    `SELECT t.schema, t.name AS table, floor(pg_table_size(c.oid) / c.reltuples)::text AS bytes ${CHOSEN}
      WHERE c.reltuples > 0 AND pg_table_size(c.oid) > $3 AND pg_table_size(c.oid) / c.reltuples > $4 ORDER BY 3 DESC`,
    [...namesOf(tables), WIDE_BYTES, WIDE_BYTES],
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'wide rows: a transaction of many of them takes a lot of memory at every stage, and goes in pieces through Kafka',
          evidence: listSome(rows.map((row) => `${formatTable(row)}: ${row.bytes} bytes a row`)),
          fix: 'give each service the memory for its largest rows, several times over',
        },
      ];
}

function checkAlikeNames({ tables }: CheckContext): Promise<Finding[]> {
  const byName = new Map<string, string[]>();
  for (const table of tables) {
    const folded = `${table.schema}.${table.table}`.toLowerCase();
    byName.set(folded, [...(byName.get(folded) ?? []), formatTable(table)]);
  }
  const alike = [...byName.values()].filter((names) => names.length > 1);
  return Promise.resolve(
    alike.length === 0
      ? []
      : [
          {
            what: 'tables whose names differ in case alone: they are kept apart here, other tools may mix them up',
            evidence: listSome(alike.map((names) => names.join(' and '))),
            fix: 'nothing; quote these names wherever you write them',
          },
        ],
  );
}

/** Views over chosen tables, and tables that refer to them, which are not chosen themselves. */
async function checkDependants({ source, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<TableName>(
    `SELECT DISTINCT vn.nspname AS schema, v.relname AS table ${CHOSEN}
       JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid = 'pg_rewrite'::regclass
       JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class v ON v.oid = w.ev_class AND v.relkind = 'v' JOIN pg_namespace vn ON vn.oid = v.relnamespace
      UNION
     SELECT rn.nspname, r.relname ${CHOSEN} JOIN pg_constraint k ON k.contype = 'f' AND k.confrelid = c.oid
       JOIN pg_class r ON r.oid = k.conrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
      WHERE NOT EXISTS (SELECT FROM unnest($1::text[], $2::text[]) AS o(schema, name) WHERE o.schema = rn.nspname AND o.name = r.relname)
      ORDER BY 1, 2`,
    namesOf(tables),
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'views over chosen tables, or tables that refer to them: schema copy carries the views whose tables are all chosen, and no other tables',
          evidence: listSome(rows.map(formatTable)),
          fix: 'make the others at the target yourself, or choose their tables too',
        },
      ];
}
