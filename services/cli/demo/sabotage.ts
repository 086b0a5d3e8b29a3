import pg from 'pg';

export const SABOTAGES = ['drop', 'double', 'flip'] as const;
/** Faults that the proof must find: one row lost, one there twice, one bit changed. */
export type Sabotage = (typeof SABOTAGES)[number];

const STATEMENTS: Record<Sabotage, string> = {
  drop: `DELETE FROM public.order_lines WHERE ctid = (SELECT ctid FROM public.order_lines LIMIT 1)`,
  double: `INSERT INTO public.activity SELECT * FROM public.activity LIMIT 1`,
  flip: `UPDATE public.customers SET name = convert_from(set_bit(convert_to(name, 'UTF8'), 0, 1 - get_bit(convert_to(name, 'UTF8'), 0)), 'UTF8')
          WHERE id = 1`,
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
