import type pg from 'pg';
import { pause } from '#core/backoff.ts';

/** What the writer did: every one of these commits must arrive. */
export interface WriterResult {
  readonly transactions: number;
  readonly changes: number;
}

const PAUSE_MS = 4;
const FORGET_EVERY = 200;

/** Commits multi-table transactions one after another until aborted: new orders, payments, changes of mind and removals. */
export async function writeShop(client: pg.ClientBase, signal: AbortSignal, seed: number): Promise<WriterResult> {
  let transactions = 0;
  let changes = 0;
  while (!signal.aborted) {
    await client.query('BEGIN');
    changes += await writeOne(client, transactions * 2 + seed);
    await client.query('COMMIT');
    transactions += 1;
    await pause(PAUSE_MS, signal);
  }
  return { transactions, changes };
}

async function writeOne(client: pg.ClientBase, turn: number): Promise<number> {
  const { rows } = await client.query<{ id: string }>(
    `INSERT INTO public.customers (email, name, segment, tags) VALUES ('live' || gen_random_uuid(), $1, 'business', '{live}') RETURNING id`,
    [`Live ${turn}`],
  );
  const order = await client.query<{ id: string }>(
    'INSERT INTO public.orders (customer_id, total) VALUES ($1, $2) RETURNING id',
    [rows[0]?.id, turn % 500],
  );
  const id = order.rows[0]?.id;
  const lines = await client.query(
    'INSERT INTO public.order_lines SELECT $1::bigint, l, gen_random_uuid(), l, l * 1.2500 FROM generate_series(1, 3) AS l',
    [id],
  );
  const payment = await client.query(
    `INSERT INTO public.payments (order_id, amount, receipt) VALUES ($1, $2, CASE WHEN $3 THEN repeat(gen_random_uuid()::text, 90) END)`,
    [id, turn % 500, turn % 10 === 0],
  );
  const paid = await client.query(`UPDATE public.orders SET status = 'paid' WHERE id = $1`, [id]);
  // Leaves the receipt alone: an unchanged TOAST value in the stream.
  const corrected = await client.query(
    'UPDATE public.payments SET amount = amount + 0.10 WHERE order_id = (SELECT id FROM public.orders WHERE id = $1)',
    [40 * (1 + (turn % 5000))],
  );
  const noted = await client.query(
    `INSERT INTO public.activity (customer_id, what) SELECT $1::bigint, 'order' FROM generate_series(1, 2)`,
    [rows[0]?.id],
  );
  // Of two equal rows exactly one goes. Seldom: without a key each is looked for in the whole table, at the target too.
  const forgotten =
    turn % FORGET_EVERY === 0
      ? await client.query(
          `DELETE FROM public.activity WHERE ctid = (SELECT ctid FROM public.activity WHERE customer_id = $1 AND what = 'order' LIMIT 1)`,
          [rows[0]?.id],
        )
      : { rowCount: 0 };
  let changes =
    2 + [lines, payment, paid, corrected, noted, forgotten].reduce((sum, { rowCount }) => sum + (rowCount ?? 0), 0);
  if (turn % 4 === 0) {
    for (const table of ['payments', 'order_lines', 'orders']) {
      const key = table === 'orders' ? 'id' : 'order_id';
      changes += (await client.query(`DELETE FROM public.${table} WHERE ${key} = $1`, [id])).rowCount ?? 0;
    }
  }
  return changes;
}
