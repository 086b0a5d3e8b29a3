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
  /** Keys, foreign keys and checks, by definition, that only one side has. */
  readonly constraintsMissing: number;
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
    const [wanted, found] = await Promise.all([
      countConstraints(
        source,
        tables.map((table) => table.source),
      ),
      countConstraints(
        target,
        tables.map((table) => table.target),
      ),
    ]);
    const constraintsMissing = Math.abs(wanted - found);
    return {
      tables: proofs,
      constraintsMissing,
      isEqual: constraintsMissing === 0 && proofs.every((table) => table.isEqual),
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

async function countConstraints(client: pg.Client, tables: readonly string[]): Promise<number> {
  const { rows } = await client.query<{ count: string }>(
    `SELECT count(*) FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
      WHERE t.relnamespace = 'public'::regnamespace AND t.relname = ANY ($1) AND c.contype IN ('p', 'u', 'f', 'c') AND c.convalidated`,
    [tables],
  );
  return Number(rows[0]?.count ?? 0);
}
