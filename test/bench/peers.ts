import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { dataFolder } from '#infra/data-folder.ts';
import { exitOnSignals } from '#infra/processes.ts';
import { projectRoot } from '#infra/project-root.ts';
import { buildProgram } from '../harness/build-program.ts';
import { startServers, type BenchServers } from './bench-servers.ts';
import { pgbenchWork } from './cases/pgbench-work.ts';
import { transactionWork } from './cases/transaction-work.ts';
import { wideWork } from './cases/wide-work.ts';
import { requireEqual } from './equality.ts';
import type { Work } from './work.ts';
import { openDebezium, WITHOUT_KEY } from './peers/debezium.ts';
import { dumpAndRestore } from './peers/dump.ts';
import { openNative } from './peers/native.ts';
import type { OpenPeer, Peer } from './peers/peer.ts';
import { openRestage } from './peers/restage.ts';

/*
 * Restage beside others on this machine, in turn: the initial load of pgbench, then the drain of a backlog.
 *   npm run bench:peers -- --scale 5 --transactions 25000 --rounds 3
 */

interface PeerRun {
  readonly peer: string;
  readonly settings: string;
  readonly loadPerSecond: number;
  /** null: it has no stream. */
  readonly drainPerSecond: number | null;
}

const WORKS: readonly Work[] = [pgbenchWork, wideWork, transactionWork];

const { values } = parseArgs({
  options: {
    scale: { type: 'string', default: '5' },
    transactions: { type: 'string', default: '25000' },
    work: { type: 'string', default: 'pgbench' },
    rounds: { type: 'string', default: '3' },
    peer: { type: 'string', multiple: true, default: ['restage', 'restage-rule', 'native', 'dump', 'debezium'] },
    out: { type: 'string', default: path.join(dataFolder(projectRoot()), 'bench') },
  },
});
const say = (line: string): void => void process.stderr.write(`${line}\n`);
const size = { scale: Number(values.scale), transactions: Number(values.transactions) };
const work = workOf(values.work);
const keyless = work === pgbenchWork ? [WITHOUT_KEY] : [];
const openers: Readonly<Record<string, { readonly open: OpenPeer; readonly leavesOut: readonly string[] }>> = {
  restage: { open: openRestage(null), leavesOut: [] },
  'restage-rule': { open: openRestage(work.rule), leavesOut: [] },
  native: { open: openNative, leavesOut: [] },
  debezium: { open: openDebezium, leavesOut: keyless },
};

exitOnSignals();
await buildProgram();
const runs: PeerRun[] = [];
await using servers = await startServers(say);
for (let round = 1; round <= Number(values.rounds); round += 1)
  for (const name of values.peer) {
    const run = name === 'dump' ? await runDump(servers, round) : await runPeer(servers, name, round);
    runs.push(run);
    const drain = run.drainPerSecond === null ? '' : `, drain ${Math.round(run.drainPerSecond)} changes/s`;
    say(`round ${round}, ${run.peer}: load ${Math.round(run.loadPerSecond)} rows/s${drain}`);
  }
mkdirSync(values.out, { recursive: true });
writeFileSync(
  path.join(values.out, 'peers.json'),
  `${JSON.stringify({ versions: servers.versions, work: work.name, ...size, runs }, null, 2)}\n`,
);

async function runPeer(on: BenchServers, name: string, round: number): Promise<PeerRun> {
  const opener = openers[name];
  if (opener === undefined) throw new Error(`no peer ${name}; there are ${Object.keys(openers).join(', ')}, dump`);
  const pair = await on.pair(`bench_${name}_${round}`);
  await work.fill(pair.source, size);
  let run: PeerRun;
  {
    await using peer: Peer = await opener.open(on, pair);
    const loadSeconds = await secondsOf(() => peer.load());
    await peer.stop();
    const { changes, lsn } = await work.makeBacklog(pair.source, size);
    const counted = changes * (opener.leavesOut.length === 0 ? 1 : 3 / 4);
    const drainSeconds = await secondsOf(() => peer.drain(lsn));
    run = {
      peer: peer.name,
      settings: peer.settings,
      loadPerSecond: work.rows(size) / loadSeconds,
      drainPerSecond: counted / drainSeconds,
    };
  }
  await requireEqual(pair.source, pair.target, opener.leavesOut);
  return run;
}

async function runDump(on: BenchServers, round: number): Promise<PeerRun> {
  const pair = await on.pair(`bench_dump_${round}`);
  await work.fill(pair.source, size);
  const seconds = await secondsOf(() => dumpAndRestore(on.binDir, pair));
  await requireEqual(pair.source, pair.target);
  const settings = 'directory format, two jobs each, no compression';
  return { peer: 'pg_dump | pg_restore', settings, loadPerSecond: work.rows(size) / seconds, drainPerSecond: null };
}

async function secondsOf(toDo: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await toDo();
  return (performance.now() - startedAt) / 1000;
}

function workOf(wanted: string): Work {
  const found = WORKS.find(({ name }) => name === wanted);
  if (found === undefined) throw new Error(`no work ${wanted}; there are ${WORKS.map(({ name }) => name).join(', ')}`);
  return found;
}
