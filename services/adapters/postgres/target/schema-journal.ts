import type pg from 'pg';
import type { Failpoints } from '#core/failpoints.ts';
import { formatTable, quoteIdentifier, quoteTable, tableKey, type TableName } from '#core/table-name.ts';

/** When a statement runs, in this order. `enable` gives triggers and rules of the target back their state. */
export type BuildPhase = 'index' | 'key' | 'foreignKey' | 'validate' | 'trigger' | 'enable' | 'refresh';

/** One statement of the structure that waits for its time, as the journal keeps it. */
export interface BuildStep {
  readonly phase: BuildPhase;
  readonly table: TableName;
  /** The index, constraint, trigger or rule that it makes or enables; '' when it makes none and may run twice. */
  readonly name: string;
  readonly sql: string;
  /** Until the switch, where session_replication_role is refused: what it makes would act on what the sink applies. */
  readonly waits?: boolean;
}

export interface JournalledStep extends BuildStep {
  readonly step: string;
  /** Its table is done in no time: what it takes is the transaction. */
  readonly isSmall: boolean;
}

const SMALL_BYTES = 1024 * 1024;

const PRE_DATA = 'schema:pre-data';
const FINISH = 'finish';

/** What was done to a target's structure: `restage.journal`, written in the transaction of the work itself (invariant 2). */
export class SchemaJournal {
  readonly #client: pg.ClientBase;
  readonly #pipeline: string;

  constructor(client: pg.ClientBase, pipeline: string) {
    this.#client = client;
    this.#pipeline = pipeline;
  }

  async create(): Promise<void> {
    const exists = await this.#client.query("SELECT FROM pg_namespace WHERE nspname = 'restage'");
    if (exists.rowCount === 0) await this.#client.query('CREATE SCHEMA IF NOT EXISTS restage');
    await this.#client.query(`
      CREATE TABLE IF NOT EXISTS restage.journal (
        pipeline text NOT NULL, step text NOT NULL, started_at timestamptz, finished_at timestamptz, detail jsonb,
        PRIMARY KEY (pipeline, step))`);
  }

  /** False also where there is no journal yet. */
  async isPreDataDone(): Promise<boolean> {
    if (!(await this.#exists())) return false;
    const done = await this.#client.query(
      'SELECT FROM restage.journal WHERE pipeline = $1 AND step = $2 AND finished_at IS NOT NULL',
      [this.#pipeline, PRE_DATA],
    );
    return done.rowCount === 1;
  }

  /** These tables are made, and these steps are what they leave to do; in the transaction that made them. */
  async addMade(steps: readonly BuildStep[], tables: readonly TableName[]): Promise<void> {
    const made = [...(await this.tables()), ...tables.map(({ schema, table }) => ({ schema, table }))];
    await this.#client.query(
      `INSERT INTO restage.journal (pipeline, step, started_at, detail) VALUES ($1, $2, transaction_timestamp(), $3::text::jsonb)
       ON CONFLICT (pipeline, step) DO UPDATE SET detail = excluded.detail`,
      [this.#pipeline, PRE_DATA, JSON.stringify({ tables: made })],
    );
    const { rows } = await this.#client.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM restage.journal WHERE pipeline = $1 AND step LIKE 'schema:%'`,
      [this.#pipeline],
    );
    const first = rows[0]?.count ?? 0;
    const names = steps.map((step, index) => `schema:${step.phase}:${String(first + index).padStart(6, '0')}`);
    await this.#client.query(
      `INSERT INTO restage.journal (pipeline, step, detail)
       SELECT $1, s.step, s.detail::jsonb FROM unnest($2::text[], $3::text[]) AS s(step, detail)`,
      [this.#pipeline, names, steps.map((step) => JSON.stringify(step))],
    );
  }

  /** Pre-data is done with what was added last; in the same transaction. */
  async finishPreData(how: string): Promise<void> {
    await this.#client.query(
      `UPDATE restage.journal SET finished_at = clock_timestamp(), detail = detail || jsonb_build_object('how', $3::text)
        WHERE pipeline = $1 AND step = $2`,
      [this.#pipeline, PRE_DATA, how],
    );
  }

  /**
   * Something was taken away, and this brings it back; in the transaction that takes it. `id` tells it from others of its table and
   * phase; what was noted of it before is replaced.
   */
  async addStep(step: BuildStep, id: string): Promise<void> {
    await this.#client.query(
      `INSERT INTO restage.journal (pipeline, step, detail) VALUES ($1, $2, $3::text::jsonb)
       ON CONFLICT (pipeline, step) DO UPDATE SET detail = excluded.detail, started_at = NULL, finished_at = NULL`,
      [this.#pipeline, `schema:${step.phase}:${formatTable(step.table)}:${id}`, JSON.stringify(step)],
    );
  }

  /** From here on the target is its application's; in the caller's transaction. */
  async startFinish(): Promise<void> {
    await this.#client.query(
      `INSERT INTO restage.journal (pipeline, step, started_at) VALUES ($1, $2, clock_timestamp()) ON CONFLICT DO NOTHING`,
      [this.#pipeline, FINISH],
    );
  }

  async endFinish(): Promise<void> {
    await this.#client.query(
      'UPDATE restage.journal SET finished_at = coalesce(finished_at, clock_timestamp()) WHERE pipeline = $1 AND step = $2',
      [this.#pipeline, FINISH],
    );
  }

  async isFinishStarted(): Promise<boolean> {
    const found = await this.#client.query('SELECT FROM restage.journal WHERE pipeline = $1 AND step = $2', [
      this.#pipeline,
      FINISH,
    ]);
    return found.rowCount === 1;
  }

  /** Steps of a phase that are not done, in their order. */
  async open(phase: BuildPhase): Promise<JournalledStep[]> {
    const { rows } = await this.#client.query<{ step: string; detail: string; is_small: boolean }>(
      `SELECT step, detail::text AS detail, EXISTS (
              SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = detail->'table'->>'schema' AND c.relname = detail->'table'->>'table'
                 AND c.relkind = 'r' AND pg_table_size(c.oid) < ${SMALL_BYTES}) AS is_small
         FROM restage.journal
        WHERE pipeline = $1 AND detail->>'phase' = $2 AND step LIKE 'schema:%' AND finished_at IS NULL ORDER BY step COLLATE "C"`,
      [this.#pipeline, phase],
    );
    return rows.map((row) => ({ ...(JSON.parse(row.detail) as BuildStep), step: row.step, isSmall: row.is_small }));
  }

  /** Those of the tables that nobody has made yet: pre-data may have made some and been cut short. */
  async withoutMade<T extends TableName>(tables: readonly T[]): Promise<T[]> {
    const made = new Set((await this.#exists()) ? (await this.tables()).map(tableKey) : []);
    return tables.filter((table) => !made.has(tableKey(table)));
  }

  async #exists(): Promise<boolean> {
    return (await this.#client.query("SELECT FROM pg_class WHERE oid = to_regclass('restage.journal')")).rowCount === 1;
  }

  /** Tables that pre-data brought; postLoad analyses them. */
  async tables(): Promise<TableName[]> {
    const { rows } = await this.#client.query<{ detail: string }>(
      'SELECT detail::text AS detail FROM restage.journal WHERE pipeline = $1 AND step = $2',
      [this.#pipeline, PRE_DATA],
    );
    const [row] = rows;
    return row === undefined ? [] : ((JSON.parse(row.detail) as { tables?: TableName[] }).tables ?? []);
  }
}

/** Runs steps and journals them in the same transaction; a thing that is there already, by whomever, is not made again. */
export async function runSteps(
  client: pg.ClientBase,
  pipeline: string,
  steps: readonly JournalledStep[],
  failpoints: Failpoints,
): Promise<void> {
  await client.query('BEGIN');
  try {
    const startedAt = (await client.query<{ at: string }>('SELECT clock_timestamp()::text AS at')).rows[0]?.at;
    for (const step of steps) if (!(await isThere(client, step))) await client.query(step.sql);
    await client.query(
      'UPDATE restage.journal SET started_at = $3, finished_at = clock_timestamp() WHERE pipeline = $1 AND step = ANY ($2::text[])',
      [pipeline, steps.map(({ step }) => step), startedAt],
    );
    for (const { phase } of steps) failpoints.hit(`sink.${phase}.before`);
    await client.query('COMMIT');
    for (const { phase } of steps) failpoints.hit(`sink.${phase}.after`);
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

async function isThere(client: pg.ClientBase, step: BuildStep): Promise<boolean> {
  if (step.name === '') return false;
  if (step.phase === 'index') {
    const index = await client.query('SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND indisvalid', [
      `${quoteIdentifier(step.table.schema)}.${quoteIdentifier(step.name)}`,
    ]);
    return index.rowCount === 1;
  }
  if (step.phase === 'enable') return !(await isDisabled(client, step));
  const found = await client.query(
    `SELECT FROM pg_constraint WHERE conrelid = to_regclass($1) AND conname = $2 AND $3 <> 'trigger'
     UNION ALL SELECT FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2 AND $3 = 'trigger'
     UNION ALL SELECT FROM pg_rewrite WHERE ev_class = to_regclass($1) AND rulename = $2 AND $3 = 'trigger'`,
    [quoteTable(step.table), step.name, step.phase],
  );
  return (found.rowCount ?? 0) > 0;
}

/** What somebody dropped or enabled meanwhile is left as it is. */
async function isDisabled(client: pg.ClientBase, { table, name }: BuildStep): Promise<boolean> {
  const found = await client.query(
    `SELECT FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2 AND tgenabled = 'D'
     UNION ALL SELECT FROM pg_rewrite WHERE ev_class = to_regclass($1) AND rulename = $2 AND ev_enabled = 'D'`,
    [quoteTable(table), name],
  );
  return (found.rowCount ?? 0) > 0;
}
