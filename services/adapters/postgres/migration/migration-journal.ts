import type pg from 'pg';
import { nextRecord, parseJournal, type JournalEntry, type JournalRecord } from '#core/migration/journal.ts';
import { inTransaction } from '../in-transaction.ts';
import { prepareSide, underTerm } from './side-state.ts';

const TABLE = `CREATE TABLE IF NOT EXISTS restage.migration_record (
  pipeline text, seq bigint, record text NOT NULL, PRIMARY KEY (pipeline, seq))`;

/** Makes the table where it is missing. */
export async function prepareJournal(client: pg.ClientBase): Promise<void> {
  await prepareSide(client);
  if (!(await hasJournal(client))) await client.query(TABLE);
}

/** Whether this database has one, of whichever pipeline. */
export async function hasJournal(client: pg.ClientBase): Promise<boolean> {
  const found = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.migration_record')`);
  return found.rowCount === 1;
}

/** Only read; none where there is no journal. @throws RestageError state_damaged, state_newer. */
export async function readJournal(client: pg.ClientBase, pipeline: string): Promise<JournalRecord[]> {
  if (!(await hasJournal(client))) return [];
  const { rows } = await client.query<{ record: string }>(
    'SELECT record FROM restage.migration_record WHERE pipeline = $1 ORDER BY seq',
    [pipeline],
  );
  return parseJournal(
    rows.map(({ record }) => record),
    `restage.migration_record, pipeline ${pipeline}`,
  );
}

/** In the caller's transaction, which holds the side's row: so nobody else appends meanwhile. */
async function append(
  client: pg.ClientBase,
  pipeline: string,
  entry: JournalEntry,
  who: Pick<JournalRecord, 'at' | 'by' | 'term'>,
): Promise<JournalRecord> {
  const record = nextRecord((await readJournal(client, pipeline)).at(-1) ?? null, entry, who);
  await client.query('INSERT INTO restage.migration_record VALUES ($1, $2, $3)', [
    pipeline,
    record.seq,
    JSON.stringify(record),
  ]);
  return record;
}

/** One record under an operator's term. @throws RestageError operator_lost. */
export async function appendRecordAs(
  client: pg.ClientBase,
  pipeline: string,
  entry: JournalEntry,
  who: Pick<JournalRecord, 'at' | 'by' | 'term'>,
): Promise<JournalRecord> {
  return underTerm(client, pipeline, who.term, () => append(client, pipeline, entry, who));
}

/** All of it, when no transaction of an operator is in the midst of adding to it. @throws RestageError operator_lost. */
export async function readJournalAs(client: pg.ClientBase, pipeline: string, term: number): Promise<JournalRecord[]> {
  return underTerm(client, pipeline, term, () => readJournal(client, pipeline));
}

/** A record of somebody who is no operator: under the term that there is, which stays. */
export async function noteInJournal(
  client: pg.ClientBase,
  pipeline: string,
  entry: JournalEntry,
  who: Pick<JournalRecord, 'at' | 'by'>,
): Promise<void> {
  await prepareJournal(client);
  await inTransaction(client, async () => {
    const { rows } = await client.query<{ term: string }>(
      `INSERT INTO restage.side (pipeline, term, is_open, changed_at) VALUES ($1, 0, false, clock_timestamp())
       ON CONFLICT (pipeline) DO UPDATE SET pipeline = excluded.pipeline RETURNING term::text AS term`,
      [pipeline],
    );
    await append(client, pipeline, entry, { ...who, term: Number(rows[0]?.term ?? 0) });
  });
}
