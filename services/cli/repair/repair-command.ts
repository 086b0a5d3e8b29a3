import { noteInJournal } from '#adapters/postgres/migration/migration-journal.ts';
import { readGate } from '#adapters/postgres/migration/side-state.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { ExitCode } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn } from '#core/lsn.ts';
import { formatTable } from '#core/table-name.ts';
import { planRepair, type RepairPlan } from '#core/verify/repair-plan.ts';
import { confirm } from '../ask.ts';
import type { CliEnvironment } from '../environment.ts';
import { whoAmI } from '../migration/operator.ts';
import { formatColumns } from '../table-text.ts';
import { connectTarget } from '../target-checkpoint.ts';
import { takeExactSnapshots } from '../verify/exact-snapshots.ts';
import { makeProgress } from '../verify/verify-progress.ts';
import { verifyTables } from '../verify/verify-tables.ts';
import { repairRows, type RepairResult } from './repair-rows.ts';

export interface RepairOptions {
  readonly isDryRun: boolean;
  readonly isConfirmed: boolean;
  readonly json: boolean;
}

/** `restage repair`: 0 when nothing differs, or all that did was repaired; 1 when rows are left, also by a dry run. */
export async function repairCommand(
  config: Config,
  target: TargetConfig,
  options: RepairOptions,
  logger: Logger,
  cli: CliEnvironment,
): Promise<ExitCode> {
  await requireFollowing(config, target);
  const tools = { logger, signal: cli.signal, clock: Date.now };
  const report = await verifyTables(config, target, {
    ...tools,
    progress: makeProgress(process.stderr, Date.now),
    takeExact: () => takeExactSnapshots(config, target, tools),
  });
  if (report.reason !== undefined)
    throw new RestageError('repair_refused', `nothing was compared: ${report.reason}`, {
      where: `target ${target.name}`,
      fix: 'restage status, restage wait',
    });
  const plan = planRepair(report);
  if (!options.json) cli.out(describePlan(plan));
  const isWanted =
    plan.tables.length > 0 &&
    !options.isDryRun &&
    (options.isConfirmed ||
      (await confirm(
        'make these rows of the target what the source says? (y/n) ',
        { command: 'restage repair' },
        cli,
      )));
  const result = isWanted ? await repairRows(config, target, plan.tables, tools) : null;
  if (result !== null) await noteRepair(config, target, result);
  if (options.json) cli.out(`${JSON.stringify(toJson(plan, result))}\n`);
  else if (result !== null) cli.out(describeResult(result));
  const isRepaired = plan.tables.length === 0 || (result !== null && result.left.length === 0);
  return isRepaired && plan.left.length === 0 ? 0 : 1;
}

/** Once the target is live, it is the source that is behind. @throws RestageError repair_refused. */
async function requireFollowing(config: Config, target: TargetConfig): Promise<void> {
  const client = await connectTarget(config, target);
  try {
    const why = await readGate(client, config.name);
    if (why === undefined || why === null) return;
    throw new RestageError('repair_refused', `the target does not follow the source: ${why}`, {
      where: `target ${target.name}`,
      fix: 'restage status says which side is live',
    });
  } finally {
    await client.end();
  }
}

/** In the audit; the rows are repaired whether it can be written or not, so a failure is the command's. */
async function noteRepair(config: Config, target: TargetConfig, { lsn, tables }: RepairResult): Promise<void> {
  const rows = tables.reduce((sum, table) => sum + table.put + table.removed, 0);
  if (rows === 0) return;
  const names = tables.filter(({ put, removed }) => put + removed > 0).map((table) => formatTable(table.targetTable));
  const client = await connectTarget(config, target);
  try {
    const who = { at: new Date().toISOString(), by: whoAmI() };
    await noteInJournal(client, config.name, { kind: 'repaired', lsn: formatLsn(lsn), rows, tables: names }, who);
  } finally {
    await client.end();
  }
}

function describePlan({ tables, left }: RepairPlan): string {
  const rows = tables.map(({ targetTable, kinds }) => [
    formatTable(targetTable),
    kinds.missing,
    kinds.extra,
    kinds.changed,
  ]);
  return [
    rows.length === 0
      ? 'no row differs that can be repaired\n'
      : formatColumns(['table', 'missing', 'extra', 'changed'], rows),
    ...left.map(({ targetTable, rows: count, why }) => `left: ${formatTable(targetTable)}, ${count} rows: ${why}\n`),
  ].join('');
}

function describeResult({ lsn, tables, left }: RepairResult): string {
  return [
    ...tables.map(
      ({ targetTable, put, removed, equal }) =>
        `${formatTable(targetTable)}: ${put} rows written, ${removed} removed, ${equal} were equal by then\n`,
    ),
    ...left.map(({ targetTable, rows, why }) => `left: ${formatTable(targetTable)}, ${rows} rows: ${why}\n`),
    `as the source was at ${formatLsn(lsn)}; restage verify says whether all is equal\n`,
  ].join('');
}

function toJson(plan: RepairPlan, result: RepairResult | null): object {
  return {
    repaired: result !== null,
    plan: plan.tables,
    left: [...plan.left, ...(result?.left ?? [])],
    ...(result === null ? {} : { lsn: formatLsn(result.lsn), tables: result.tables }),
  };
}
