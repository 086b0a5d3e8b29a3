import pg from 'pg';

export const SABOTAGES = ['drop', 'double', 'flip'] as const;
/** Faults that the proof must find: one row lost, one there twice, one bit changed. */
export type Sabotage = (typeof SABOTAGES)[number];

const STATEMENTS: Record<Sabotage, string> = {
  drop: `DELETE FROM public.order_lines WHERE ctid = (SELECT ctid FROM public.order_lines LIMIT 1)`,
  double: `INSERT INTO public.order_lines SELECT order_id, line_no + 1000, sku, quantity, price FROM public.order_lines LIMIT 1`,
  flip: `UPDATE public.orders SET total = total + 0.01 WHERE ctid = (SELECT ctid FROM public.orders LIMIT 1)`,
};

/** Spoils the target as a faulty pipeline would. */
export async function sabotageTarget(url: string, sabotage: Sabotage): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('SET session_replication_role = replica');
    await client.query(STATEMENTS[sabotage]);
  } finally {
    await client.end();
  }
}
