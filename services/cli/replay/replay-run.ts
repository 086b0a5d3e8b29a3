import type pg from 'pg';
import { endLeaseHolder } from '#adapters/postgres/advisory-lease.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { endStaleSessions } from '#adapters/postgres/target/apply-session.ts';
import { finishReplay } from '#adapters/postgres/target/replay-state.ts';
import { pause } from '#core/backoff.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { HoldGate, PauseGate, ServiceContext, SnapshotGate } from '#core/control.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import { prefixOf } from '#core/output-ref.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import { TokenBucket } from '#core/token-bucket.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { WaitMeter } from '#core/wait-meter.ts';
import { LetterCommands } from '../letter-commands.ts';
import { main } from '../../sink/main.ts';
import { pacedReader } from './paced-reader.ts';
import type { ReplayPlan } from './replay-plan.ts';
import { countOf, makeReplayProgress } from './replay-progress.ts';

export interface ReplayRunOptions {
  readonly config: Config;
  readonly target: TargetConfig;
  readonly plan: ReplayPlan;
  readonly rate: number | null;
  readonly logger: Logger;
  readonly failpoints: Failpoints;
}

export interface ReplayResult {
  /** False: it was stopped before. */
  readonly isReached: boolean;
  /** Of the target; '' for none yet. */
  readonly through: string;
  readonly rows: number;
  readonly events: number;
  readonly seconds: number;
}

const LOOK_MS = 200;
const BOUND_ID = 'replay';
const RUNNING: PauseGate = { isPaused: false, whenRunning: () => Promise.resolve() };
const NO_REQUESTS: SnapshotGate = { requests: [], clear: () => Promise.resolve() };

/** The target's sink in this process, until it is where the replay ends. */
export async function runReplay(options: ReplayRunOptions, signal: AbortSignal): Promise<ReplayResult> {
  const { config, target, plan, rate, logger, failpoints } = options;
  const status = newStatus('sink', target.name);
  const reached = new AbortController();
  const ended = new AbortController();
  const context: ServiceContext = {
    logger,
    status,
    signal: AbortSignal.any([signal, reached.signal]),
    gate: RUNNING,
    hold: holdAt(plan.bound, () => reached.abort()),
    snapshots: NO_REQUESTS,
    letters: new LetterCommands(() => Promise.resolve()),
    waits: new WaitMeter(Date.now),
    failpoints,
  };
  const bucket = rate === null ? null : new TokenBucket(rate, Date.now);
  const structures = schemasTopic(prefixOf(config, target.output));
  const startedAt = Date.now();
  await endSink(config, target);
  const watching = watch(status, plan, reached, ended.signal);
  try {
    await main(config, target.name, context, {
      pace: (reader) => (bucket === null ? reader : pacedReader(reader, bucket, structures)),
    });
  } finally {
    ended.abort();
    await watching;
  }
  if (reached.signal.aborted) {
    failpoints.hit('replay.end.before');
    await withSession(config, target, 'replay', (client) => finishReplay(client, config.name));
    failpoints.hit('replay.end.after');
  }
  const { snapshot } = status.events;
  const seconds = (Date.now() - startedAt) / 1_000;
  const events = countOf(status) - snapshot;
  return { isReached: reached.signal.aborted, through: status.through, rows: snapshot, events, seconds };
}

/** A sink that is at work learns at once that it has to stand aside. */
async function endSink(config: Config, target: TargetConfig): Promise<void> {
  await withSession(config, target, 'sink', async (client) => {
    await endStaleSessions(client);
    await endLeaseHolder(client, `${config.name}.sink.${target.name}`);
  });
}

async function withSession(
  config: Config,
  target: TargetConfig,
  as: 'sink' | 'replay',
  work: (client: pg.ClientBase) => Promise<void>,
): Promise<void> {
  const application = `restage ${config.name} ${as} ${target.name}`;
  const client = await connectPg({ url: target.url, purpose: 'target', application });
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

function holdAt(bound: Lsn | null, onReached: () => void): HoldGate {
  return {
    request: bound === null ? null : { id: BOUND_ID, lsn: bound, isBound: true },
    changed: new AbortController().signal,
    acknowledge: (id) => {
      if (id === BOUND_ID) onReached();
    },
  };
}

/** Shows how far it is; without a bound it also says when it is there. */
async function watch(
  status: ServiceStatus,
  { bound, goal }: ReplayPlan,
  reached: AbortController,
  signal: AbortSignal,
): Promise<void> {
  const progress = makeReplayProgress(process.stderr, goal, Date.now);
  while (!signal.aborted) {
    progress.show(status);
    const isThere = status.load.isDone && status.through !== '' && parseLsn(status.through) >= goal;
    if (bound === null && isThere) reached.abort();
    await pause(LOOK_MS, signal);
  }
  progress.end();
}
