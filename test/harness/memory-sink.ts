import type pg from 'pg';
import { pino } from 'pino';
import { connectPg } from '#adapters/postgres/session.ts';
import { openTargetSchema } from '#adapters/postgres/target/open-target-schema.ts';
import type { StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';
import type { TargetConfig } from '#core/config.ts';
import { NO_FAILPOINTS, type Failpoints } from '#core/failpoints.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import { HoldRequests } from '../../services/cli/hold-requests.ts';
import { sink } from '../../services/sink/sink.ts';
import { SCHEMAS_TOPIC, type MemoryTopics } from './memory-topics.ts';
import { until } from './until.ts';

export const PIPELINE = 'test';

export interface MemorySinkOptions {
  readonly url: string;
  readonly client: pg.Client;
  readonly topics: MemoryTopics;
  readonly policy: QuarantinePolicy;
  readonly failpoints?: Failpoints;
  readonly name?: string;
}

export interface MemorySink {
  readonly status: ServiceStatus;
  readonly sent: StoredDeadLetter[];
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

/** A sink over topics in memory. */
export function startSink(options: MemorySinkOptions): MemorySink {
  const { url, topics, policy, failpoints = NO_FAILPOINTS, name = 'new' } = options;
  const target: TargetConfig = { name, url, output: null, schema: 'require', loadWorkers: 1, quarantine: policy };
  const status = newStatus('sink', name);
  const { reader } = topics;
  const stop = new AbortController();
  const sent: StoredDeadLetter[] = [];
  const ended = sink(
    {
      pipeline: PIPELINE,
      target,
      reader,
      raw: reader,
      schemasTopic: SCHEMAS_TOPIC,
      readStructures: () => Promise.resolve(topics.structures()),
      connect: () => connectPg({ url, purpose: 'target', application: 'restage test sink' }),
      failpoints,
      schema: openTargetSchema({ pipeline: PIPELINE, target, rules: [], failpoints: NO_FAILPOINTS }),
      status,
      gate: { isPaused: false, whenRunning: () => Promise.resolve() },
      hold: new HoldRequests((id) => (status.held = id ?? '')),
      logger: pino({ level: 'silent' }),
      clock: Date.now,
      sendDeadLetters: (letters) => {
        sent.push(...letters);
        return Promise.resolve();
      },
    },
    stop.signal,
  );
  ended.catch(() => undefined);
  return { status, sent, stop, ended };
}

/** Runs a sink until its position in the target has reached an LSN and the load is done, then drains it. Throws what it threw. */
export async function runSink(options: MemorySinkOptions, through: number): Promise<MemorySink> {
  const running = startSink(options);
  let hasEnded = false;
  running.ended.catch(() => undefined).finally(() => (hasEnded = true));
  const reached = 'SELECT FROM restage.checkpoint WHERE load_done AND through >= $1::pg_lsn';
  await until(
    async () => hasEnded || (await options.client.query(reached, [`0/${through.toString(16)}`])).rowCount === 1,
    { what: `the target has passed ${through}`, everyMs: 10 },
  );
  running.stop.abort();
  await running.ended;
  return running;
}
