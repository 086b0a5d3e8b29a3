import pg from 'pg';
import { pause } from '#core/backoff.ts';
import type { Side } from '#core/migration/journal.ts';
import { readLiveSide } from './live-side.ts';

/** What the writers did: every one of these commits must arrive, and be on the live side at the end. */
export interface WriterResult {
  readonly transactions: number;
  readonly changes: number;
  /** E-mail addresses of the customers that acknowledged transactions made. */
  readonly acknowledged: readonly string[];
  /** For each switch the milliseconds from the last commit before it to the first one after it, on the new side. */
  readonly gapsMs: readonly number[];
}

/** Where the application writes, and what the tables are called there. */
export interface ShopPlace {
  readonly url: string;
  readonly payments: string;
}

export interface WriterPlaces {
  readonly sides: Readonly<Record<Side, ShopPlace>>;
  /** The file that the cutover's hook writes. */
  readonly liveFile: string;
}

const PAUSE_MS = 15;
const FORGET_EVERY = 200;
/** The guard of a side that is closed (PostgreSQL: read_only_sql_transaction). */
const REFUSED = '25006';

/** An application that commits until aborted: it asks the hook's file where to, and waits while a side refuses it. */
export async function writeShop(places: WriterPlaces, signal: AbortSignal, seed: number): Promise<WriterResult> {
  const writer = new ShopWriter(places, seed);
  try {
    while (!signal.aborted) {
      await writer.write();
      await pause(PAUSE_MS, signal);
    }
    return writer.result;
  } finally {
    await writer.close();
  }
}

/** All writers as one: the longest of their gaps counts. */
export function addWriters(results: readonly WriterResult[]): WriterResult {
  const switches = Math.max(0, ...results.map(({ gapsMs }) => gapsMs.length));
  return {
    transactions: results.reduce((sum, { transactions }) => sum + transactions, 0),
    changes: results.reduce((sum, { changes }) => sum + changes, 0),
    acknowledged: results.flatMap(({ acknowledged }) => acknowledged),
    gapsMs: Array.from({ length: switches }, (_, at) => Math.max(...results.map(({ gapsMs }) => gapsMs[at] ?? 0))),
  };
}

class ShopWriter {
  readonly #places: WriterPlaces;
  readonly #seed: number;
  readonly #acknowledged: string[] = [];
  readonly #gapsMs: number[] = [];
  #changes = 0;
  #session: { readonly side: Side; readonly client: pg.Client } | null = null;
  #committed: { readonly side: Side; readonly at: number } | null = null;

  constructor(places: WriterPlaces, seed: number) {
    this.#places = places;
    this.#seed = seed;
  }

  get result(): WriterResult {
    return {
      transactions: this.#acknowledged.length,
      changes: this.#changes,
      acknowledged: this.#acknowledged,
      gapsMs: this.#gapsMs,
    };
  }

  /** One transaction where the hook says; none while it says to wait, or the side refuses. */
  async write(): Promise<void> {
    const side = await readLiveSide(this.#places.liveFile);
    if (side === null) return;
    const client = await this.#connect(side);
    try {
      await client.query('BEGIN');
      const turn = this.#acknowledged.length * 2 + this.#seed;
      const { email, changes } = await writeOne(client, turn, this.#places.sides[side].payments);
      await client.query('COMMIT');
      this.#note(side, email, changes);
    } catch (error) {
      if (!(error instanceof pg.DatabaseError && error.code === REFUSED)) throw error;
      await client.query('ROLLBACK');
    }
  }

  async close(): Promise<void> {
    await this.#session?.client.end();
    this.#session = null;
  }

  async #connect(side: Side): Promise<pg.Client> {
    if (this.#session?.side === side) return this.#session.client;
    await this.close();
    const client = new pg.Client({ connectionString: this.#places.sides[side].url });
    await client.connect();
    this.#session = { side, client };
    return client;
  }

  #note(side: Side, email: string, changes: number): void {
    const at = performance.now();
    if (this.#committed !== null && this.#committed.side !== side)
      this.#gapsMs.push(Math.round(at - this.#committed.at));
    this.#committed = { side, at };
    this.#acknowledged.push(email);
    this.#changes += changes;
  }
}

/** New orders, payments, changes of mind and removals, over all tables. */
async function writeOne(
  client: pg.ClientBase,
  turn: number,
  payments: string,
): Promise<{ readonly email: string; readonly changes: number }> {
  const { rows } = await client.query<{ id: string; email: string }>(
    `INSERT INTO public.customers (email, name, segment, tags) VALUES ('live' || gen_random_uuid(), $1, 'business', '{live}') RETURNING id, email`,
    [`Live ${turn}`],
  );
  const [customer = { id: '', email: '' }] = rows;
  const order = await client.query<{ id: string }>(
    'INSERT INTO public.orders (customer_id, total) VALUES ($1, $2) RETURNING id',
    [customer.id, turn % 500],
  );
  const id = order.rows[0]?.id;
  const lines = await client.query(
    'INSERT INTO public.order_lines SELECT $1::bigint, l, gen_random_uuid(), l, l * 1.2500 FROM generate_series(1, 3) AS l',
    [id],
  );
  const payment = await client.query(
    `INSERT INTO public.${payments} (order_id, amount, receipt) VALUES ($1, $2, CASE WHEN $3 THEN repeat(gen_random_uuid()::text, 90) END)`,
    [id, turn % 500, turn % 10 === 0],
  );
  const paid = await client.query(`UPDATE public.orders SET status = 'paid' WHERE id = $1`, [id]);
  // Leaves the receipt alone: an unchanged TOAST value in the stream.
  const corrected = await client.query(
    `UPDATE public.${payments} SET amount = amount + 0.10 WHERE order_id = (SELECT id FROM public.orders WHERE id = $1)`,
    [40 * (1 + (turn % 5000))],
  );
  const noted = await client.query(
    `INSERT INTO public.activity (customer_id, what) SELECT $1::bigint, 'order' FROM generate_series(1, 2)`,
    [customer.id],
  );
  // Of two equal rows exactly one goes. Seldom: without a key each is looked for in the whole table, at the target too.
  const forgotten =
    turn % FORGET_EVERY === 0
      ? await client.query(
          `DELETE FROM public.activity WHERE ctid = (SELECT ctid FROM public.activity WHERE customer_id = $1 AND what = 'order' LIMIT 1)`,
          [customer.id],
        )
      : { rowCount: 0 };
  let changes =
    2 + [lines, payment, paid, corrected, noted, forgotten].reduce((sum, { rowCount }) => sum + (rowCount ?? 0), 0);
  if (turn % 4 === 0) {
    for (const table of [payments, 'order_lines', 'orders']) {
      const key = table === 'orders' ? 'id' : 'order_id';
      changes += (await client.query(`DELETE FROM public.${table} WHERE ${key} = $1`, [id])).rowCount ?? 0;
    }
  }
  return { email: customer.email, changes };
}
