import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { isLongRun } from './chaos/long-run.ts';

/** Between two writes of one writer: four of them are at it, and what they write goes there and back. */
const REST_MS = isLongRun() ? 60 : 150;

export type Side = 'source' | 'target';

interface Accepted {
  readonly id: string;
  readonly side: Side;
  readonly table: string;
  /** Milliseconds: sent, acknowledged. */
  readonly sentAt: number;
  readonly at: number;
}

export interface LiveWritersOptions {
  readonly urls: Readonly<Record<Side, string>>;
  /** Of the tables ledger, total and probe on both sides. Absent: public. */
  readonly schema?: string;
  /** What the hook writes. */
  readonly hookFile: string;
  /** The table that each side has for the writer who obeys the hook. */
  readonly orders: Readonly<Record<Side, string>>;
  /** The column of its text there. */
  readonly note: Readonly<Record<Side, string>>;
}

/**
 * Two writers that log every acknowledged commit, one that goes where the hook says and one that tries wherever it was last taken, and a probe
 * that offers both sides a write all the time.
 */
export class LiveWriters implements AsyncDisposable {
  readonly accepted: Accepted[] = [];
  /** Everything else than a side that takes no writes, or a session that was ended. */
  readonly failures: string[] = [];
  readonly #options: LiveWritersOptions;
  readonly #schema: string;
  readonly #stop = new AbortController();
  readonly #loops: Promise<void>[];
  #count = 0;

  constructor(options: LiveWritersOptions) {
    this.#options = options;
    this.#schema = options.schema ?? 'public';
    this.#loops = [this.#obedient(), this.#stubborn(), this.#probe('source'), this.#probe('target')];
  }

  /** Acknowledged commits so far on a side. */
  countOf(side: Side): number {
    return this.accepted.filter((one) => one.side === side).length;
  }

  /** The sides that took writes, one after another: each switch is one change. */
  eras(): Side[] {
    const eras: Side[] = [];
    for (const { side } of this.accepted.toSorted((a, b) => a.at - b.at)) if (eras.at(-1) !== side) eras.push(side);
    return eras;
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#loops);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  /** Acknowledged rows that a side does not have. */
  async missingAt(side: Side, accepted: readonly Accepted[] = [...this.accepted]): Promise<string[]> {
    const client = new pg.Client(this.#options.urls[side]);
    await client.connect();
    try {
      const ids = new Set<string>();
      for (const table of [`${this.#schema}.ledger`, `${this.#schema}.probe`, this.#options.orders[side]])
        for (const { id } of (await client.query<{ id: string }>(`SELECT id FROM ${table}`)).rows) ids.add(id);
      return accepted
        .filter(({ id }) => !ids.has(id))
        .map(({ id, side: where, table }) => `${id} of ${where} ${table}`);
    } finally {
      await client.end();
    }
  }

  async #obedient(): Promise<void> {
    const { hookFile, orders, note } = this.#options;
    let side: Side = 'source';
    while (!this.#stop.signal.aborted) {
      const told = await readFile(hookFile, 'utf8').catch(() => '');
      const live: Side | null = told === '' ? side : (JSON.parse(told) as { live: Side | null }).live;
      if (live === null) {
        await sleep(REST_MS);
        continue;
      }
      side = live;
      const table = orders[side];
      await this.#write(side, table, (id) => `INSERT INTO ${table} (id, ${note[side]}) VALUES ('${id}', 'n')`);
    }
  }

  async #stubborn(): Promise<void> {
    let side: Side = 'source';
    while (!this.#stop.signal.aborted) {
      const isTaken = await this.#write(
        side,
        `${this.#schema}.ledger`,
        (id) =>
          `INSERT INTO ${this.#schema}.ledger (id) VALUES ('${id}'); UPDATE ${this.#schema}.total SET n = n + 1 WHERE id = 1`,
      );
      if (!isTaken) side = side === 'source' ? 'target' : 'source';
    }
  }

  async #probe(side: Side): Promise<void> {
    while (!this.#stop.signal.aborted)
      await this.#write(
        side,
        `${this.#schema}.probe`,
        (id) => `INSERT INTO ${this.#schema}.probe (id) VALUES ('${id}')`,
      );
  }

  readonly #clients = new Map<string, Promise<pg.Client>>();

  async #write(side: Side, table: string, sql: (id: string) => string): Promise<boolean> {
    const key = `${side} ${table}`;
    this.#count += 1;
    const id = `${side}-${this.#count}`;
    try {
      const client = await (this.#clients.get(key) ?? this.#connect(key, side));
      const sentAt = performance.now();
      await client.query(sql(id));
      this.accepted.push({ id, side, table, sentAt, at: performance.now() });
      await sleep(REST_MS);
      return true;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      if (code !== '25006') {
        this.#clients.delete(key);
        if (!/^(57P01|40P01|08|ECONN|$)/.test(code)) this.failures.push(String(error));
      }
      await sleep(REST_MS);
      return false;
    }
  }

  #connect(key: string, side: Side): Promise<pg.Client> {
    const opening = (async (): Promise<pg.Client> => {
      const client = new pg.Client({ connectionString: this.#options.urls[side], application_name: `writer ${key}` });
      client.on('error', () => this.#clients.delete(key));
      await client.connect();
      this.#stop.signal.addEventListener('abort', () => void client.end().catch(() => undefined), { once: true });
      return client;
    })();
    this.#clients.set(key, opening);
    opening.catch(() => this.#clients.delete(key));
    return opening;
  }
}
