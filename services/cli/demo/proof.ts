import pg from 'pg';

/** A table as both sides call it, and its columns where the target has another name. */
export interface ProofTable {
  readonly source: string;
  readonly target: string;
  readonly renamed: Readonly<Record<string, string>>;
}

export interface TableProof {
  readonly table: string;
  readonly sourceRows: number;
  readonly targetRows: number;
  readonly isEqual: boolean;
}

export interface Proof {
  readonly tables: readonly TableProof[];
  /** Constraints and indexes that only one side has, by definition, and sequences that are behind. */
  readonly structureDifferences: readonly string[];
  readonly isEqual: boolean;
}

/**
 * Compares two databases with nothing of the pipeline's but their addresses: own sessions, own statements. Rows count as many
 * times as they are there, whatever their order; every column's text counts, and NULL is not ''.
 */
export async function prove(sourceUrl: string, targetUrl: string, tables: readonly ProofTable[]): Promise<Proof> {
  const source = await connect(sourceUrl);
  const target = await connect(targetUrl);
  try {
    const proofs: TableProof[] = [];
    for (const table of tables) proofs.push(await proveTable(source, target, table));
    const structureDifferences = [
      ...onlyOneHas(await definitions(source, tables), await definitions(target, [])),
      ...(await sequencesBehind(source, target)),
    ];
    return {
      tables: proofs,
      structureDifferences,
      isEqual: structureDifferences.length === 0 && proofs.every((table) => table.isEqual),
    };
  } finally {
    await Promise.all([source.end(), target.end()]);
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`SET timezone = 'UTC'; SET datestyle = 'ISO'; SET extra_float_digits = 3`);
  return client;
}

async function proveTable(source: pg.Client, target: pg.Client, table: ProofTable): Promise<TableProof> {
  const { rows } = await source.query<{ name: string }>(
    `SELECT column_name AS name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 ORDER BY column_name COLLATE "C"`,
    [table.source],
  );
  const names = rows.map((row) => row.name);
  const [left, right] = await Promise.all([
    digest(source, table.source, names),
    digest(
      target,
      table.target,
      names.map((name) => table.renamed[name] ?? name),
    ),
  ]);
  return {
    table: table.target,
    sourceRows: left.rows,
    targetRows: right.rows,
    isEqual: left.rows === right.rows && left.sum === right.sum && names.length > 0,
  };
}

async function digest(
  client: pg.Client,
  table: string,
  columns: readonly string[],
): Promise<{ rows: number; sum: string }> {
  const list = columns.map((name) => client.escapeIdentifier(name)).join(', ');
  const { rows } = await client.query<{ rows: string; sum: string }>(
    `SELECT count(*) AS rows, coalesce(sum(('x' || left(hash, 15))::bit(60)::bigint::numeric), 0)::text || coalesce(sum(('x' || right(hash, 15))::bit(60)::bigint::numeric), 0)::text AS sum
       FROM (SELECT md5(ROW(${list})::text) AS hash FROM public.${client.escapeIdentifier(table)}) AS hashed`,
  );
  return { rows: Number(rows[0]?.rows ?? 0), sum: rows[0]?.sum ?? '' };
}

/** Constraints and indexes as PostgreSQL writes them, in the names that the target has; names of their own may differ. */
async function definitions(client: pg.Client, renames: readonly ProofTable[]): Promise<string[]> {
  const { rows } = await client.query<{ definition: string }>(
    `SELECT format('%s: %s', c.conrelid::regclass, pg_get_constraintdef(c.oid)) AS definition
       FROM pg_constraint c WHERE c.connamespace = 'public'::regnamespace AND c.contype IN ('p', 'u', 'f', 'c') AND c.convalidated
     UNION ALL
     SELECT regexp_replace(pg_get_indexdef(i.indexrelid), ' INDEX .* ON ', ' INDEX ON ')
       FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid WHERE t.relnamespace = 'public'::regnamespace AND i.indisvalid`,
  );
  const words = new Map(renames.flatMap((table) => [[table.source, table.target], ...Object.entries(table.renamed)]));
  return rows.map(({ definition }) => definition.replaceAll(/\w+/g, (word) => words.get(word) ?? word));
}

function onlyOneHas(source: readonly string[], target: readonly string[]): string[] {
  const [left, right] = [new Set(source), new Set(target)];
  return [
    ...source.filter((definition) => !right.has(definition)).map((definition) => `missing: ${definition}`),
    ...target.filter((definition) => !left.has(definition)).map((definition) => `extra: ${definition}`),
  ];
}

/** A value that the source gave out must not be given out again. */
async function sequencesBehind(source: pg.Client, target: pg.Client): Promise<string[]> {
  const sql = `SELECT sequencename AS name, coalesce(last_value, 0)::text AS value FROM pg_sequences WHERE schemaname = 'public'`;
  const [given, found] = await Promise.all(
    [source, target].map(
      async (client) =>
        new Map((await client.query<{ name: string; value: string }>(sql)).rows.map((row) => [row.name, row.value])),
    ),
  );
  return [...(given ?? [])]
    .filter(([name, value]) => BigInt(found?.get(name) ?? '-1') < BigInt(value))
    .map(([name]) => `sequence ${name} is behind`);
}

/** How many of the customers with these addresses a side does not have. */
export async function countLost(url: string, emails: readonly string[]): Promise<number> {
  const client = await connect(url);
  try {
    const { rows } = await client.query<{ lost: number }>(
      `SELECT count(*)::int AS lost FROM unnest($1::text[]) AS given(email)
        WHERE NOT EXISTS (SELECT FROM public.customers c WHERE c.email = given.email)`,
      [emails],
    );
    return rows[0]?.lost ?? emails.length;
  } finally {
    await client.end();
  }
}
