import { appendRecord } from '#adapters/kafka/keyed-topic.ts';
import { pause } from '#core/backoff.ts';
import type { Config } from '#core/config.ts';
import { stopKey } from '#core/control.ts';
import { exitCodeOf, type ExitCode } from '#core/error-policy.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { controlTopic } from '#core/topic-names.ts';
import { ask, requireSomebody } from '../ask.ts';
import { openControlPool } from '../control-topic.ts';
import type { CliEnvironment } from '../environment.ts';
import { noteAction } from '../migration/audit.ts';
import type { Kept, Piece } from './piece.ts';
import { makePlan, type Plan, type PlanOptions } from './plan.ts';
import { requireNobodyActive } from './source-part.ts';

export interface TeardownOptions {
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly json: boolean;
  readonly force: boolean;
  readonly registry: boolean;
}

/** What `teardown --json` prints. */
interface TeardownReport {
  readonly name: string;
  readonly isDryRun: boolean;
  /** Removed; with --dry-run what would be. */
  readonly removed: readonly Omit<Piece, 'remove'>[];
  readonly left: readonly Kept[];
}

const STOP_LIMIT_MS = 40_000;
const STOP_POLL_MS = 500;

/** Lists, asks, removes. May be called again at any time: what is gone already is not there to be removed. */
export async function tearDown(
  config: Config,
  options: TeardownOptions,
  logger: Logger,
  cli: CliEnvironment,
): Promise<void> {
  const plan = await openPlan(config, options, logger);
  try {
    if (!options.json) cli.out(describePlan(config, plan));
    const isConfirmed = options.dryRun || plan.pieces.length === 0 || options.yes || (await confirmByName(config, cli));
    if (!isConfirmed) {
      cli.err('nothing was removed\n');
      cli.setExitCode(1);
      return;
    }
    // Where a journal is, and may stay: what a teardown takes away it takes with its own note.
    const acted = { action: 'teardown', with: { force: options.force, registry: options.registry } } as const;
    if (!options.dryRun && plan.pieces.length > 0)
      await noteAction(config, config.targets, acted, logger, 'where a journal is');
    const { removed, left, code } = await removeAll(plan, options.dryRun, (line) => options.json || cli.out(line));
    const report: TeardownReport = { name: config.name, isDryRun: options.dryRun, removed, left };
    if (options.json) cli.out(`${JSON.stringify(report)}\n`);
    cli.setExitCode(code);
  } finally {
    await plan.close();
  }
}

/** With services at work: refused, or (--force) they are told to drain, and everything is looked for again. */
async function openPlan(config: Config, options: TeardownOptions, logger: Logger): Promise<Plan> {
  const wanted: PlanOptions = { isForced: options.force, withRegistry: options.registry };
  let plan = await makePlan(config, wanted, logger);
  if (plan.active.length === 0 || options.dryRun) return plan;
  try {
    if (!options.force) requireNobodyActive(plan.active);
    await stopServices(config, logger);
    for (const deadline = Date.now() + STOP_LIMIT_MS; plan.active.length > 0; await pause(STOP_POLL_MS)) {
      await plan.close();
      plan = await makePlan(config, wanted, logger);
      if (Date.now() > deadline && plan.active.length > 0)
        throw new RestageError('transient', `services do not end: ${plan.active.join(', ')}`, {
          fix: 'stop them where they run',
        });
    }
    return plan;
  } catch (error) {
    await plan.close();
    throw error;
  }
}

async function stopServices(config: Config, logger: Logger): Promise<void> {
  const pool = openControlPool(config, logger);
  try {
    if (!(await pool.isThere(controlTopic(config.name)))) return;
    await appendRecord(pool, controlTopic(config.name), stopKey(), JSON.stringify({ at: Date.now() }));
  } finally {
    await pool.close();
  }
}

async function confirmByName(config: Config, cli: CliEnvironment): Promise<boolean> {
  requireSomebody({ command: 'restage teardown', dryRun: 'remove' }, cli);
  return (await ask(`type the pipeline's name to remove all of this: `, cli)) === config.name;
}

async function removeAll(
  plan: Plan,
  isDryRun: boolean,
  say: (line: string) => unknown,
): Promise<{ removed: Omit<Piece, 'remove'>[]; left: Kept[]; code: ExitCode }> {
  const removed: Omit<Piece, 'remove'>[] = [];
  const left: Kept[] = [...plan.kept];
  let { code } = plan;
  for (const { kind, name, place, remove } of plan.pieces) {
    try {
      if (!isDryRun) await remove();
      removed.push({ kind, name, place });
      if (!isDryRun) say(`removed: ${kind} ${name} (${place})\n`);
    } catch (error) {
      code ||= exitCodeOf(error);
      left.push({ kind, name, place, why: describeError(error) });
      say(`left:    ${kind} ${name} (${place}): ${describeError(error)}\n`);
    }
  }
  // Statements that wait are the user's to run or to forget.
  if (plan.kept.some(({ kind }) => kind === 'state')) code ||= 1;
  return { removed, left, code };
}

function describePlan(config: Config, plan: Plan): string {
  const lines = [
    ...plan.pieces.map(({ kind, name, place }) => `to go:   ${kind} ${name} (${place})`),
    ...plan.kept.map(({ kind, name, place, why }) => `stays:   ${kind} ${name} (${place}): ${why}`),
    ...plan.active.map((name) => `at work: ${name}`),
  ];
  if (lines.length === 0) return `nothing of pipeline ${config.name} is left\n`;
  return `${lines.join('\n')}\nthe rows of target tables stay as they are\n`;
}
