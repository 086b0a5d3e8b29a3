import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createAdvisoryLease, type DatabaseLease } from '#adapters/postgres/advisory-lease.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { readTableSizes } from '#adapters/postgres/source/table-sizes.ts';
import { actAsReplica } from '#adapters/postgres/target/apply-session.ts';
import { moveBound, noteReplay, prepareReplays, replayLease } from '#adapters/postgres/target/replay-state.ts';
import { SchemaJournal } from '#adapters/postgres/target/schema-journal.ts';
import { TargetState } from '#adapters/postgres/target/target-state.ts';
import { backoffMs, pause } from '#core/backoff.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { reactTo, type ExitCode } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn } from '#core/lsn.ts';
import { prefixOf } from '#core/output-ref.ts';
import { formatTable, tableKey } from '#core/table-name.ts';
import { confirm } from '../ask.ts';
import { openControlPool } from '../control-topic.ts';
import type { CliEnvironment } from '../environment.ts';
import { noteAction } from '../migration/audit.ts';
import { processFailpoints } from '../process-failpoints.ts';
import { storeStructures } from '../schema-command.ts';
import { formatColumns } from '../table-text.ts';
import { History } from './history.ts';
import { planReplay, type ReplayPlan, type ReplayRequest } from './replay-plan.ts';
import { planReset, reset, type ResetPlan } from './replay-reset.ts';
import { runReplay, type ReplayResult } from './replay-run.ts';

const MOST_FAILURES = 8;

interface ReplayOptions extends ReplayRequest {
  /** Events a second; null: as fast as the target takes them. */
  readonly rate: number | null;
  readonly isDryRun: boolean;
  readonly isAgreed: boolean;
  readonly isJson: boolean;
}

interface Tools {
  readonly client: pg.Client;
  readonly pool: ConnectionPool;
  readonly config: Config;
  readonly target: TargetConfig;
  readonly own: History;
  readonly failpoints: Failpoints;
}

/**
 * `restage replay`: 0 when it is where it was to go, 1 when it was stopped before, or nothing was to be done after all. Once it has begun, what
 * may pass by itself is met by going on, as any service does: the sink that it displaced may end a session of it on its way out.
 */
export async function replayCommand(
  config: Config,
  target: TargetConfig,
  options: ReplayOptions,
  cli: CliEnvironment,
  logger: Logger,
): Promise<ExitCode> {
  let isBegun = false;
  const noteBegun = async (): Promise<void> => {
    const given = { from: options.fromText, force: options.isForced };
    if (!isBegun) await noteAction(config, [target], { action: 'replay', with: given }, logger);
    isBegun = true;
  };
  for (let failed = 0; ; failed += 1) {
    try {
      const agreed = { ...options, isAgreed: options.isAgreed || isBegun };
      return await replayOnce(config, target, agreed, cli, logger, noteBegun);
    } catch (error) {
      if (!isBegun || cli.signal.aborted || failed === MOST_FAILURES || reactTo(error).do === 'stop') throw error;
      logger.warn({ err: error }, 'the replay was cut short and goes on');
      await pause(backoffMs(failed), cli.signal);
    }
  }
}

async function replayOnce(
  config: Config,
  target: TargetConfig,
  options: ReplayOptions,
  cli: CliEnvironment,
  logger: Logger,
  noteBegun: () => Promise<void>,
): Promise<ExitCode> {
  const pool = openControlPool(config, logger);
  const application = `restage ${config.name} replay ${target.name}`;
  const client = await connectPg({ url: target.url, purpose: 'target', application });
  const lease = leaseOf(config, target, application, logger);
  try {
    await actAsReplica(client);
    const raw = new History(pool, config.name, logger);
    const prefix = prefixOf(config, target.output);
    const own = prefix === config.name ? raw : new History(pool, prefix, logger);
    const tools: Tools = { client, pool, config, target, own, failpoints: processFailpoints(cli.env) };
    const plan = await planReplay({ ...tools, raw, now: BigInt(Date.now()) * 1_000n }, options);
    const emptied = plan.isEmptying ? await planReset(tools) : null;
    cli.err(await describePlan(tools, options, plan, emptied));
    if (options.isDryRun) return sayPlanned(cli, tools, options, plan, emptied);
    const about = { command: 'restage replay --force', dryRun: 'empty' };
    const isAgreed = emptied === null || options.isAgreed;
    if (!isAgreed && !(await confirm('Empty these tables and fill them anew? [y/N] ', about, cli))) {
      cli.err('nothing was changed\n');
      return 1;
    }
    await lease.acquire(cli.signal, () => {
      throw new RestageError('replay_refused', 'another replay has this target', {
        fix: 'wait for its end, or stop it',
      });
    });
    await noteBegun();
    if (target.schema === 'copy' && !(await new SchemaJournal(client, config.name).isPreDataDone()))
      await storeStructures({ ...config, targets: [target] });
    await begin(tools, options, plan, emptied);
    const result = await runReplay(
      { config, target, plan, rate: options.rate, logger, failpoints: tools.failpoints },
      cli.signal,
    );
    sayResult(cli, tools, options, plan, result);
    return result.isReached ? 0 : 1;
  } finally {
    await Promise.all([lease.release(), client.end().catch(() => undefined), pool.close()]);
  }
}

function leaseOf(config: Config, target: TargetConfig, application: string, logger: Logger): DatabaseLease {
  return createAdvisoryLease({
    connect: () => connectPg({ url: target.url, purpose: 'target', application: `${application} lease` }),
    name: replayLease(config.name, target.name),
    logger,
  });
}

/** One transaction: what is emptied, the position, the right to apply, and what the journal says of it (invariant 2). */
async function begin(tools: Tools, options: ReplayRequest, plan: ReplayPlan, planned: ResetPlan | null): Promise<void> {
  const { client, config, own, failpoints } = tools;
  await new SchemaJournal(client, config.name).create();
  await prepareReplays(client);
  await client.query('BEGIN');
  try {
    // Whoever applies now loses the right to: its transaction in hand is waited for, the next one is refused.
    await new TargetState(config.name, randomUUID()).open(client);
    // A sink at work may have filled one more table since the plan was made; now none can.
    const emptied = planned === null ? null : await planReset(tools);
    if (emptied !== null) await reset(tools, emptied);
    if (plan.isResumed) await moveBound(client, config.name, plan.bound);
    else {
      const { fromText: from, isForced } = options;
      const detail = {
        from,
        prefix: own.prefix,
        bound: plan.bound === null ? null : formatLsn(plan.bound),
        emptied: emptied?.empties.map(formatTable) ?? [],
        deadLetters: emptied?.deadLetters ?? 0,
      };
      await noteReplay(client, config.name, { from, prefix: own.prefix, isForced, bound: plan.bound }, detail);
    }
    failpoints.hit('replay.begin.before');
    await client.query('COMMIT');
    failpoints.hit('replay.begin.after');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

async function describePlan(
  { client, target, own }: Tools,
  { fromText }: ReplayRequest,
  { bound, goal, notes }: ReplayPlan,
  emptied: ResetPlan | null,
): Promise<string> {
  const to = bound === null ? `what Kafka has of the source now, ${formatLsn(goal)}` : `exactly ${formatLsn(bound)}`;
  const lines = [`replay of ${own.prefix} into ${target.name}, from ${fromText} to ${to}`, ...notes];
  if (emptied === null) return `${lines.join('\n')}\n`;
  const sizes = await readTableSizes(client, emptied.empties);
  const rows = emptied.empties.map((table) => [
    formatTable(table),
    String(sizes.get(tableKey(table))?.rows ?? 0),
    String(sizes.get(tableKey(table))?.bytes ?? 0),
  ]);
  if (emptied.deadLetters > 0)
    lines.push(`${emptied.deadLetters} waiting dead letters go too: what they are of comes again`);
  return `${lines.join('\n')}\n${formatColumns(['is emptied', 'rows (about)', 'bytes'], rows)}`;
}

function sayPlanned(
  cli: CliEnvironment,
  { target, own }: Tools,
  options: ReplayOptions,
  plan: ReplayPlan,
  emptied: ResetPlan | null,
): ExitCode {
  if (options.isJson)
    cli.out(
      `${JSON.stringify({
        dryRun: true,
        target: target.name,
        reads: own.prefix,
        from: options.fromText,
        bound: plan.bound === null ? null : formatLsn(plan.bound),
        goal: formatLsn(plan.goal),
        emptied: emptied?.empties ?? [],
      })}\n`,
    );
  return 0;
}

function sayResult(
  cli: CliEnvironment,
  { target, own }: Tools,
  options: ReplayOptions,
  { bound }: ReplayPlan,
  { isReached, through, rows, events, seconds }: ReplayResult,
): void {
  if (options.isJson) {
    cli.out(
      `${JSON.stringify({
        dryRun: false,
        target: target.name,
        reads: own.prefix,
        from: options.fromText,
        bound: bound === null ? null : formatLsn(bound),
        reached: isReached,
        through,
        rows,
        events,
        seconds,
      })}\n`,
    );
    return;
  }
  const what = `${rows} rows of the load and ${events} changes in ${seconds.toFixed(1)} s; ${target.name} is at ${through === '' ? 'its beginning' : through}`;
  if (!isReached) cli.err(`stopped after ${what}; the same command goes on\n`);
  else if (bound === null) cli.out(`${what}; restage sink goes on from there\n`);
  else cli.out(`${what}, its bound: a sink stands aside until another restage replay goes on from there\n`);
}
