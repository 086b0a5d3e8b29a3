import type { BenchCase } from '../bench-case.ts';
import { query } from '../bench-servers.ts';
import { currentLsn } from '../pipeline.ts';
import type { Report } from '../result.ts';
import type { Work } from '../work.ts';
import { drainOnce } from './drain.ts';
import { loadTogether } from './load.ts';

const ROW_BYTES = [100, 1_000, 10_000, 100_000];
const TABLE_COUNTS = [1, 100, 1_000, 10_000];
/** Of rows at `--size 1`, whatever a row's size. */
const ALL_BYTES = 1_000_000_000;
/** Over all tables at `--size 1`. */
const ALL_ROWS = 1_000_000;
/** Tables are made, and rows written, by so many in one transaction: a lock each. */
const TABLES_AT_ONCE = 500;
const ROWS_A_TRANSACTION_BYTES = 10_000_000;

/** What a byte costs as rows grow, and a row as tables do: each load and each backlog is as large as the others of its kind. */
export const growth: BenchCase = {
  name: 'growth',
  about: 'load and backlog of as many bytes in rows of 100 B to 100 kB, and of as many rows in 1 to 10,000 tables',
  async run(servers, options, report) {
    for (const bytes of ROW_BYTES) {
      const work = rowsOf(bytes, Math.max(1, Math.round((ALL_BYTES * options.size) / bytes)));
      const counted: Report = (result) =>
        report({
          ...result,
          case: 'growth',
          variant: `rows of ${bytes} B, ${result.case}`,
          unit: 'MB',
          count: (result.count * bytes) / 1e6,
        });
      await loadTogether(servers, options, work, counted);
      await drainOnce(servers, options, { work, rule: null }, counted);
    }
    const rows = ALL_ROWS * options.size;
    for (const tables of TABLE_COUNTS.filter((count) => count <= rows)) {
      const work = tablesOf(tables, Math.floor(rows / tables));
      const named: Report = (result) =>
        report({ ...result, case: 'growth', variant: `${tables} tables, ${result.case}` });
      await loadTogether(servers, options, work, named);
      await drainOnce(servers, options, { work, rule: null }, named);
    }
  },
};

/** Rows of one table; a change writes another text into each. Half of a text is compressible, as documents are. */
function rowsOf(bytes: number, rows: number): Work {
  const text = (seed: string): string =>
    `left((SELECT string_agg(md5(${seed} || '/' || part) || repeat('-', 32), '') FROM generate_series(0, ${Math.ceil(bytes / 64)}) AS part), ${bytes})`;
  const step = Math.max(1, Math.round(ROWS_A_TRANSACTION_BYTES / bytes));
  return {
    name: `rows of ${bytes} B`,
    rule: '{ table: public.grown, columns: { rename: { body: text } } }',
    rows: () => rows,
    async fill(url) {
      await query(url, 'CREATE TABLE public.grown (id bigint PRIMARY KEY, body text NOT NULL)');
      await query(url, `INSERT INTO public.grown SELECT id, ${text('id')} FROM generate_series(1, ${rows}) AS id`);
    },
    async makeBacklog(url) {
      for (let at = 0; at < rows; at += step)
        await query(url, `UPDATE public.grown SET body = ${text('-id')} WHERE id > ${at} AND id <= ${at + step}`);
      return { changes: rows, lsn: await currentLsn(url) };
    },
  };
}

/** Small rows, the same number in each table; each is changed once, in transactions of a row of every table. */
function tablesOf(tables: number, rowsEach: number): Work {
  const everyTable = async (url: string, statement: string): Promise<void> => {
    for (let first = 1; first <= tables; first += TABLES_AT_ONCE)
      await query(
        url,
        `DO $$ BEGIN FOR i IN ${first}..${Math.min(tables, first + TABLES_AT_ONCE - 1)} LOOP ${statement} END LOOP; END $$`,
      );
  };
  return {
    name: `${tables} tables`,
    rule: '{ table: public.t1, columns: { rename: { body: text } } }',
    rows: () => tables * rowsEach,
    fill: (url) =>
      everyTable(
        url,
        `EXECUTE format('CREATE TABLE public.t%s (id bigint PRIMARY KEY, n int, body text)', i);
         EXECUTE format('INSERT INTO public.t%s SELECT id, %s, md5(id::text) FROM generate_series(1, ${rowsEach}) AS id', i, i);`,
      ),
    async makeBacklog(url) {
      const step = Math.ceil(rowsEach / 100);
      for (let at = 0; at < rowsEach; at += step)
        await everyTable(
          url,
          `EXECUTE format('UPDATE public.t%s SET n = n + 1 WHERE id > ${at} AND id <= ${at + step}', i);`,
        );
      return { changes: tables * rowsEach, lsn: await currentLsn(url) };
    },
  };
}
