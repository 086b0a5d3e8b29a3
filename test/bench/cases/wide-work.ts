import { connect, query } from '../bench-servers.ts';
import { currentLsn } from '../pipeline.ts';
import type { Work } from '../work.ts';

/** Rows in the wide table, for each 1 of scale. */
const ROWS_PER_SCALE = 20_000;
const CHANGES_PER_TRANSACTION = 10;
const TEXTS = Array.from({ length: 10 }, (_, at) => `text_${at}`);
const NUMBERS = Array.from({ length: 8 }, (_, at) => `amount_${at}`);
const TIMES = Array.from({ length: 5 }, (_, at) => `happened_${at}`);
const COUNTS = Array.from({ length: 4 }, (_, at) => `count_${at}`);

/** One table as a shop has it: 30 columns of text, numeric, time and jsonb, about 1 kB a row; ten rows a transaction. */
export const wideWork: Work = {
  name: 'wide',
  rule: '{ table: public.bench_wide, columns: { rename: { text_9: remark } } }',
  rows: ({ scale }) => scale * ROWS_PER_SCALE,
  fill: (url, size) => fill(url, wideWork.rows(size)),
  makeBacklog: (url, size) => makeBacklog(url, wideWork.rows(size), size.transactions),
};

async function fill(url: string, rows: number): Promise<void> {
  const columns = [
    'id bigint PRIMARY KEY',
    'document jsonb NOT NULL',
    'is_open boolean NOT NULL',
    ...TEXTS.map((name) => `${name} text`),
    ...NUMBERS.map((name) => `${name} numeric(14, 4)`),
    ...TIMES.map((name) => `${name} timestamptz`),
    ...COUNTS.map((name) => `${name} integer`),
  ];
  const values = [
    'id',
    `jsonb_build_object('reference', md5(id::text), 'lines', jsonb_build_array(id, id * 2, md5((id + 1)::text)), 'note', repeat(md5((id + 2)::text), 4))`,
    'id % 3 = 0',
    ...TEXTS.map((_, at) => `md5((id * ${at + 3})::text) || ' ' || md5((id + ${at})::text)`),
    ...NUMBERS.map((_, at) => `(id * ${at + 7} % 1000003)::numeric / 7`),
    ...TIMES.map((_, at) => `timestamptz '2026-01-01 00:00:00Z' + make_interval(secs => (id * ${at + 11}) % 31536000)`),
    ...COUNTS.map((_, at) => `(id * ${at + 13} % 100000)::integer`),
  ];
  await query(url, `CREATE TABLE public.bench_wide (${columns.join(', ')})`);
  await query(url, `INSERT INTO public.bench_wide SELECT ${values.join(', ')} FROM generate_series(1, ${rows}) AS id`);
}

/** Transactions of ten changed rows each, every third with another document. */
async function makeBacklog(url: string, rows: number, transactions: number): Promise<{ changes: number; lsn: string }> {
  const client = await connect(url);
  const sql = `UPDATE public.bench_wide SET amount_0 = amount_0 + 1, happened_0 = happened_0 + interval '1 second', text_0 = md5(text_0),
                 document = CASE WHEN $2 THEN jsonb_set(document, '{note}', to_jsonb(repeat(md5(text_0), 4))) ELSE document END
               WHERE id = ANY ($1::bigint[])`;
  try {
    for (let at = 0; at < transactions; at += 1) {
      const ids = Array.from({ length: CHANGES_PER_TRANSACTION }, (_, row) => ((at * 7919 + row * 104_729) % rows) + 1);
      await client.query(sql, [ids, at % 3 === 0]);
    }
  } finally {
    await client.end();
  }
  return { changes: transactions * CHANGES_PER_TRANSACTION, lsn: await currentLsn(url) };
}
