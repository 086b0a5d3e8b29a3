import pg from 'pg';
import { pause } from '#core/backoff.ts';
import type { SeededRandom } from '../random.ts';
import { APPEND_SQL } from './list-history.ts';

const ACCOUNTS = 20;
const OPENING = 1_000;
const DOCUMENTS = 30;
const LISTS = 50;
/** Of small parts (chaos configurations set epoch.partBytes low) it makes several. */
const HUGE_ROWS = 300;
/** Long enough that a body is stored out of line. */
const BODY = `repeat(md5(random()::text), 100)`;

/** Source name, target name: the rule renames one. */
export const BANK_TABLES = [
  ['bank', 'bank'],
  ['ledger', 'ledger'],
  ['doc', 'paper'],
  ['page', 'page'],
  ['list', 'list'],
  ['filler_1', 'filler_1'],
  ['filler_2', 'filler_2'],
  ['filler_3', 'filler_3'],
  ['filler_4', 'filler_4'],
] as const;

/** A keyless table, one with values out of line, a foreign key, an index, a trigger, a materialized view; `fillers` rows in each filler. */
export function bankSql(fillers: number): string {
  const filler = (number: number): string =>
    `CREATE TABLE public.filler_${number} (id int PRIMARY KEY, text text);
     INSERT INTO public.filler_${number} SELECT n, 'row ' || n FROM generate_series(1, ${fillers}) n;`;
  return `
    CREATE TABLE public.bank (id int PRIMARY KEY, balance int NOT NULL);
    INSERT INTO public.bank SELECT n, ${OPENING} FROM generate_series(1, ${ACCOUNTS}) n;
    CREATE TABLE public.ledger (account int NOT NULL, amount int NOT NULL);
    ALTER TABLE public.ledger REPLICA IDENTITY FULL;
    CREATE TABLE public.doc (id int PRIMARY KEY, body text, version int NOT NULL);
    ALTER TABLE public.doc ALTER COLUMN body SET STORAGE EXTERNAL;
    INSERT INTO public.doc SELECT n, ${BODY}, 0 FROM generate_series(1, ${DOCUMENTS}) n;
    CREATE INDEX doc_version ON public.doc (version);
    CREATE TABLE public.page (id int PRIMARY KEY, doc int NOT NULL REFERENCES public.doc, note text);
    INSERT INTO public.page SELECT n, 1 + n % ${DOCUMENTS}, 'page' FROM generate_series(1, 50) n;
    CREATE TABLE public.list (id int PRIMARY KEY, items int[] NOT NULL, chain text NOT NULL);
    INSERT INTO public.list SELECT n, '{}', '' FROM generate_series(1, ${LISTS}) n;
    CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER stamp BEFORE INSERT ON public.page FOR EACH ROW EXECUTE FUNCTION public.stamp();
    CREATE MATERIALIZED VIEW public.rich AS SELECT id FROM public.bank WHERE balance > ${OPENING};
    ${[1, 2, 3, 4].map(filler).join('\n')}`;
}

/** Zero or more faults of one state of the bank, in one statement: money is only moved, and each move has two legs. */
export const BANK_FAULTS_SQL = `
  SELECT 'sum ' || sum(balance) AS fault FROM public.bank HAVING sum(balance) <> ${ACCOUNTS * OPENING}
  UNION ALL
  SELECT 'account ' || id || ' has ' || balance FROM public.bank
   WHERE balance <> ${OPENING} + (SELECT coalesce(sum(amount), 0) FROM public.ledger WHERE account = id)`;

export interface BankWriter {
  /** Stops the writes and gives the number of committed transactions. */
  stop(): Promise<number>;
}

/** Writes until stopped, whatever becomes of the server meanwhile. */
export function startBankWriter(url: string, random: SeededRandom, pauseMs: number): BankWriter {
  const ended = new AbortController();
  let count = 0;
  const running = (async () => {
    while (!ended.signal.aborted) {
      const client = new pg.Client({ connectionString: url, application_name: 'bank writer' });
      client.on('error', () => undefined);
      try {
        await client.connect();
        for (; !ended.signal.aborted; count += 1) {
          await transact(client, random);
          await pause(pauseMs, ended.signal);
        }
      } catch {
        // The server was stopped under it; whether the last COMMIT arrived is the server's to know.
        await pause(100, ended.signal);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  })();
  return {
    async stop() {
      ended.abort();
      await running;
      return count;
    },
  };
}

async function transact(client: pg.Client, random: SeededRandom): Promise<void> {
  await client.query('BEGIN');
  await transfer(client, random);
  const doc = random.between(1, DOCUMENTS);
  if (random.chance(0.5)) await client.query('UPDATE public.doc SET version = version + 1 WHERE id = $1', [doc]);
  if (random.chance(0.1)) await client.query(`UPDATE public.doc SET body = ${BODY} WHERE id = $1`, [doc]);
  if (random.chance(0.5)) await appendToLists(client, random);
  if (random.chance(0.2)) await turnPage(client, random);
  if (random.chance(0.03)) await writeMuch(client);
  await client.query(random.chance(0.05) ? 'ROLLBACK' : 'COMMIT');
}

/** Equal rows in the keyless table, and the removal of exactly one of them, are part of it. */
async function transfer(client: pg.Client, random: SeededRandom): Promise<void> {
  const from = random.between(1, ACCOUNTS);
  const to = 1 + ((from + random.between(0, ACCOUNTS - 2)) % ACCOUNTS);
  const amount = random.between(1, 5);
  await client.query('UPDATE public.bank SET balance = balance - $2 WHERE id = $1', [from, amount]);
  await client.query('INSERT INTO public.ledger VALUES ($1, -$2::int), ($3, $2), ($1, 0), ($1, 0)', [from, amount, to]);
  await client.query('UPDATE public.bank SET balance = balance + $2 WHERE id = $1', [to, amount]);
  if (random.chance(0.5))
    await client.query(
      'DELETE FROM public.ledger WHERE ctid IN (SELECT ctid FROM public.ledger WHERE amount = 0 LIMIT 1)',
    );
}

async function appendToLists(client: pg.Client, random: SeededRandom): Promise<void> {
  const one = random.between(1, LISTS);
  await client.query(APPEND_SQL, [one, 1 + (one % LISTS)]);
}

/** A row goes, its key is taken by another, and a new one comes. */
async function turnPage(client: pg.Client, random: SeededRandom): Promise<void> {
  await client.query('DELETE FROM public.page WHERE id = (SELECT min(id) FROM public.page)');
  await client.query('UPDATE public.page SET id = -id WHERE id = (SELECT max(id) FROM public.page)');
  await client.query(`INSERT INTO public.page SELECT coalesce(max(id), 0) + 1, $1, 'new' FROM public.page`, [
    random.between(1, DOCUMENTS),
  ]);
}

async function writeMuch(client: pg.Client): Promise<void> {
  await client.query(`INSERT INTO public.ledger SELECT 1, 0 FROM generate_series(1, ${HUGE_ROWS})`);
  await client.query('UPDATE public.doc SET version = version + 1');
}
