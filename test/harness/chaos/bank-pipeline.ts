import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { expect } from 'vitest';
import { parseLsn } from '#core/lsn.ts';
import { SeededRandom } from '../random.ts';
import { until } from '../until.ts';
import { BANK_TABLES, bankSql, startBankWriter, type BankWriter } from './bank.ts';
import { makeWitness, readTopics, readWitness, type SeenTopics, type WitnessedTransaction } from './evidence.ts';
import { ListHistory, readLists } from './list-history.ts';
import { checkManifests, checkRanges, checkTopic, compareHistories, compareRows, toTransactions } from './oracles.ts';
import { watchSlot, watchTarget, type Watcher } from './watchers.ts';

/** Addresses as the services reach them, and as the test does: they differ where a proxy stands between. */
export interface BankPipelineOptions {
  readonly name: string;
  readonly services: { readonly brokers: string; readonly source: string; readonly target: string };
  readonly test: { readonly brokers: string; readonly source: string; readonly target: string };
  readonly seed: number;
  /** Rows of each of the four tables that only the load knows. */
  readonly fillers: number;
  readonly writePauseMs: number;
}

/** Leases of 10 s, back-off and starts included. */
const STILL_MS = 60_000;
/** So small that every huge transaction has several parts. */
const PART_BYTES = 16_384;
const HEARTBEAT_MS = 500;

/** A pipeline with everything that may break, the writer at its source, and all that is watched and compared. */
export class BankPipeline implements AsyncDisposable {
  readonly config: string;
  readonly slot: string;
  readonly #options: BankPipelineOptions;
  readonly #folder: string;
  readonly #watchers: readonly Watcher[];
  readonly #lists = new ListHistory();
  #writer: BankWriter;
  #written = 0;

  private constructor(options: BankPipelineOptions, folder: string) {
    const { name, test } = options;
    this.#options = options;
    this.#folder = folder;
    this.config = path.join(folder, 'restage.yaml');
    this.slot = `restage_${name.replaceAll('-', '_')}`;
    this.#writer = this.#write();
    this.#watchers = [watchTarget(test.target, this.#lists), watchSlot(test.source, test.brokers, name, this.slot)];
  }

  static async open(options: BankPipelineOptions): Promise<BankPipeline> {
    const folder = await mkdtemp(path.join(tmpdir(), 'restage-chaos-'));
    await withClient(options.test.source, async (client) => {
      await client.query(bankSql(options.fillers));
      await makeWitness(client, witnessOf(options.name));
    });
    const pipeline = new BankPipeline(options, folder);
    await writeFile(pipeline.config, configText(options));
    return pipeline;
  }

  /** The writer rests, so that only heartbeats move the position. */
  async rest(): Promise<void> {
    this.#written += await this.#writer.stop();
  }

  goOn(): void {
    this.#writer = this.#write();
  }

  async isLoadDone(): Promise<boolean> {
    return await withClient(this.#options.test.target, async (client) => {
      const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.checkpoint')`);
      if (known.rowCount === 0) return false;
      return (await client.query('SELECT FROM restage.checkpoint WHERE load_done')).rowCount === 1;
    });
  }

  /** All that is committed now has arrived. Waits as long as the target's position or its load moves. */
  async arrive(stillMs = STILL_MS): Promise<bigint> {
    const { source } = this.#options.test;
    const sql = `SELECT pg_logical_emit_message(true, 'restage', 'chaos')::text AS lsn`;
    const asked = await withClient(source, (client) => client.query<{ lsn: string }>(sql));
    const lsn = asked.rows[0]?.lsn ?? '';
    let seen = '';
    for (let through = await this.#through(lsn); through !== null; through = await this.#through(lsn)) {
      seen = through;
      await until(async () => (await this.#through(lsn)) !== seen, {
        what: `the target to go on from ${seen} to ${lsn}`,
        timeoutMs: stillMs,
      });
    }
    return parseLsn(lsn);
  }

  /** The target's position, null once it has reached `lsn` and the load is done. */
  async #through(lsn: string): Promise<string | null> {
    return await withClient(this.#options.test.target, async (client) => {
      const known = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.checkpoint')`);
      if (known.rowCount === 0) return 'none';
      const { rows } = await client.query<{ through: string; done: boolean }>(
        `SELECT concat_ws(' ', through, chunks.loaded, tables.loaded) AS through, load_done AND through >= $1::pg_lsn AS done FROM restage.checkpoint,
                (SELECT string_agg(md5(c::text), ' ' ORDER BY c::text) AS loaded FROM restage.chunk_ledger c) AS chunks,
                (SELECT string_agg(md5(t::text), ' ' ORDER BY t::text) AS loaded FROM restage.table_load t) AS tables`,
        [lsn],
      );
      return rows[0]?.done === true ? null : (rows[0]?.through ?? 'none');
    });
  }

  /** Stops the writer, waits until all has arrived, and gives everything that is wrong by any oracle. */
  async judge(): Promise<string[]> {
    const { brokers, source } = this.#options.test;
    const { name } = this.#options;
    await this.rest();
    expect(this.#written).toBeGreaterThan(50);
    const lsn = await this.arrive();
    for (const watcher of this.#watchers)
      await until(() => watcher.looks() > 0, { what: 'a watcher to see something' });
    const seen = await Promise.all(this.#watchers.map((watcher) => watcher.stop()));
    const raw = await readTopics(brokers, name, lsn);
    const shaped = await readTopics(brokers, `${name}.shaped.main.v1`, lsn);
    const truth = await withClient(source, (client) => readWitness(client, witnessOf(name)));
    return [
      ...seen.flat(),
      ...this.#lists.look(await withClient(source, readLists)),
      ...checkTopics(raw),
      ...checkTopics(shaped),
      ...compareHistories(
        truth.filter(({ end }) => end > raw.origin),
        toTransactions([...raw.events.values()].flat(), tableOf),
      ),
      ...compareHistories(shapedTruth(truth, raw), toTransactions([...shaped.events.values()].flat(), tableOf)),
      ...(await this.#compareTables()),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.stop();
    await Promise.all(this.#watchers.map((watcher) => watcher.stop()));
    await rm(this.#folder, { recursive: true, force: true });
  }

  #write(): BankWriter {
    const { test, seed, writePauseMs } = this.#options;
    return startBankWriter(test.source, new SeededRandom(seed), writePauseMs);
  }

  async #compareTables(): Promise<string[]> {
    const { source, target } = this.#options.test;
    const faults: string[] = [];
    for (const [from, to] of BANK_TABLES)
      faults.push(...compareRows(from, await rowsOf(source, from), await rowsOf(target, to)));
    return faults;
  }
}

export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, application_name: 'chaos test' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function checkTopics(seen: SeenTopics): string[] {
  const events = [...seen.events];
  return [
    ...checkManifests(seen.manifests),
    ...checkRanges(
      seen.manifests,
      events.flatMap(([, list]) => list),
    ),
    ...events.flatMap(([, list]) => checkTopic(list)),
  ];
}

/** The shaped stream leaves out what a table's snapshot has already; only commits that ended before it are in there. */
function shapedTruth(truth: readonly WitnessedTransaction[], raw: SeenTopics): WitnessedTransaction[] {
  const snapshots = new Map([...raw.snapshots].map(([topic, spans]) => [tableOf(topic), spans]));
  const renamed = new Map<string, string>(BANK_TABLES);
  return truth.flatMap((transaction) => {
    const changes = transaction.changes
      .map((change) => change.split(' '))
      .filter(([table = '']) => {
        const { end } = transaction;
        return end > raw.origin && !(snapshots.get(table) ?? []).some(({ from, to }) => end > from && end <= to);
      })
      .map(([table = '', op]) => `${renamed.get(table) ?? table} ${op}`);
    return changes.length === 0 ? [] : [{ ...transaction, changes }];
  });
}

function tableOf(topic: string): string {
  return topic.slice(topic.lastIndexOf('.') + 1);
}

function witnessOf(name: string): string {
  return `witness_${name.replaceAll('-', '_')}`;
}

async function rowsOf(url: string, table: string): Promise<string[]> {
  return await withClient(url, async (client) => {
    const { rows } = await client.query<{ row: string }>(`SELECT t::text AS row FROM public.${table} t`);
    return rows.map(({ row }) => row);
  });
}

function configText({ name, services }: BankPipelineOptions): string {
  return `
name: ${name}
kafka: { brokers: ["${services.brokers}"] }
source:
  postgres: { url: "${services.source}" }
  heartbeatMs: ${HEARTBEAT_MS}
epoch: { partBytes: ${PART_BYTES}, bytes: ${PART_BYTES} }
transform:
  outputs:
    - name: main
      version: 1
      rules:
        - { table: public.doc, rename: public.paper }
targets:
  - { name: new, postgres: { url: "${services.target}" }, schema: copy }
`;
}
