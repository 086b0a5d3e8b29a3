import type { ChildProcess } from 'node:child_process';
import pg from 'pg';
import * as z from 'zod';
import { readJournal } from '#adapters/postgres/migration/migration-journal.ts';
import { pause } from '#core/backoff.ts';
import { RestageError } from '#core/errors.ts';
import type { Side } from '#core/migration/journal.ts';
import { switchesOf } from '#core/migration/migration-report.ts';
import type { StepName } from '#core/migration/steps.ts';
import type { DemoProcesses } from './demo-processes.ts';
import type { Timeline } from './timeline.ts';

/** A cutover or a rollback, as the journal has it. */
export interface DemoSwitch {
  readonly live: Side;
  /** How long neither side took writes. */
  readonly unavailableMs: number;
  readonly steps: readonly { readonly name: StepName; readonly ms: number }[];
}

export interface SwitchParts {
  readonly processes: DemoProcesses;
  readonly timeline: Timeline;
  readonly say: (line: string) => void;
  /** How long the application writes to the new side before it comes back. */
  readonly seconds: number;
  readonly targetUrl: string;
  readonly signal: AbortSignal;
}

const TARGET = ['--target', 'new'];
const SWITCH = [...TARGET, '--yes', '--json'];
const NAME = 'shop';
const WAIT_SECONDS = '120';
const POLL_MS = 200;

const verified = z.object({ verdict: z.string(), tables: z.array(z.object({ rows: z.number() })) });
const rehearsed = z.object({ verdict: z.string(), steps: z.array(z.object({ name: z.string(), says: z.string() })) });
const switched = z.object({ live: z.enum(['source', 'target']), unavailableMs: z.number() });

/** While the application writes: verify, rehearse once, cut over, write on the new side, and roll back. */
export async function showSwitch(parts: SwitchParts): Promise<readonly DemoSwitch[]> {
  const { processes, timeline, say, seconds, signal } = parts;
  await verify(parts);
  say('the whole migration once on a clone, from the same history: restage rehearse');
  await timeline.note(
    async () => rehearsed.parse(JSON.parse(await processes.ask('rehearse', ...TARGET, '--json'))),
    ({ verdict, steps }) => `rehearsed on a clone: ${verdict}; ${describeSteps(steps)}`,
  );
  const back = processes.start(['reverse', ...TARGET]);
  await waitForSlot(parts.targetUrl, back, signal);
  await processes.ask('wait', ...TARGET, '--lsn', 'current', '--timeout', WAIT_SECONDS);
  // Once more: what changes from here on is what is left to compare in the fence.
  await verify(parts);
  await switchTo('cutover', parts);
  say(`the application writes to the new side for ${seconds} s`);
  await timeline.note(
    () => pause(seconds * 1_000, signal),
    () => 'the application writes to the target, the way back keeps the source current',
  );
  await switchTo('rollback', parts);
  await processes.stop(back);
  return readSwitches(parts.targetUrl);
}

/** What was replayed, and for how long the clones' writers would have waited there and back. */
function describeSteps(steps: z.infer<typeof rehearsed>['steps']): string {
  return ['replay', 'cutover', 'rollback']
    .flatMap((wanted) => steps.filter(({ name }) => name === wanted))
    .map(({ name, says }) => (name === 'replay' ? says : `${name}: ${says.split(':')[0] ?? ''}`))
    .join('; ');
}

async function verify({ processes, timeline, say }: SwitchParts): Promise<void> {
  say('comparing every row while the writers go on: restage verify');
  await timeline.note(
    async () => verified.parse(JSON.parse(await processes.ask('verify', ...TARGET, '--json'))),
    ({ verdict, tables }) =>
      `verified under writes: ${verdict}, ${tables.reduce((sum, { rows }) => sum + rows, 0).toLocaleString('en')} rows`,
  );
}

/** Before its slot is there the way back captures nothing. @throws RestageError when it ends before, or was asked to. */
async function waitForSlot(url: string, back: ChildProcess, signal: AbortSignal): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const sql = 'SELECT FROM pg_replication_slots WHERE database = current_database() AND active';
    while ((await client.query(sql)).rowCount === 0) {
      if (back.exitCode !== null || signal.aborted) throw new RestageError('transient', 'the way back did not start');
      await pause(POLL_MS, signal);
    }
  } finally {
    await client.end();
  }
}

async function switchTo(command: 'cutover' | 'rollback', { processes, timeline, say }: SwitchParts): Promise<void> {
  say(`${command === 'cutover' ? 'the target becomes' : 'the source becomes'} the live side: restage ${command}`);
  await timeline.note(
    async () => switched.parse(JSON.parse(await processes.ask(command, ...SWITCH))),
    ({ live, unavailableMs }) =>
      `${command}: the ${live} is live; writes were refused for ${unavailableMs.toLocaleString('en')} ms`,
  );
}

async function readSwitches(url: string): Promise<DemoSwitch[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return switchesOf(await readJournal(client, NAME)).map(({ to, unavailableMs, steps }) => ({
      live: to,
      unavailableMs: unavailableMs ?? 0,
      steps: steps.map(({ name, ms }) => ({ name, ms })),
    }));
  } finally {
    await client.end();
  }
}
