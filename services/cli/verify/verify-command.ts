import { noteInJournal } from '#adapters/postgres/migration/migration-journal.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { ExitCode } from '#core/error-policy.ts';
import type { Logger } from '#core/log.ts';
import type { VerifyReport } from '#core/verify/verify-report.ts';
import { findTarget } from '../config-file.ts';
import { whoAmI } from '../migration/operator.ts';
import { connectTarget } from '../target-checkpoint.ts';
import { takeExactSnapshots } from './exact-snapshots.ts';
import { describeReport } from './verify-printer.ts';
import { makeProgress } from './verify-progress.ts';
import { verifyTables } from './verify-tables.ts';

export interface VerifyContext {
  readonly logger: Logger;
  readonly signal?: AbortSignal;
  /** Standard output by default. */
  readonly out?: (text: string) => void;
}

/** `restage verify`: 0 equal, 1 when a row differs or could not be judged. */
export async function runVerify(
  config: Config,
  options: { target: string; json: boolean },
  context: VerifyContext,
): Promise<ExitCode> {
  const target = findTarget(config, options.target);
  const out = context.out ?? ((text) => process.stdout.write(text));
  const tools = { logger: context.logger, signal: context.signal ?? new AbortController().signal, clock: Date.now };
  const report = await verifyTables(config, target, {
    ...tools,
    progress: makeProgress(process.stderr, Date.now),
    takeExact: () => takeExactSnapshots(config, target, tools),
  });
  await noteReport(config, target, report, context.logger);
  out(options.json ? `${JSON.stringify(report)}\n` : describeReport(report));
  return report.verdict === 'equal' ? 0 : 1;
}

/** In the target's migration journal: a cutover asks for it. What cannot be written there changes nothing of the verdict. */
async function noteReport(config: Config, target: TargetConfig, report: VerifyReport, logger: Logger): Promise<void> {
  if (report.reason !== undefined) return;
  const rows = report.tables.reduce((sum, table) => sum + table.rows, 0);
  const { verdict, seconds, since } = report;
  try {
    const client = await connectTarget(config, target);
    try {
      const who = { at: new Date().toISOString(), by: whoAmI() };
      const own = { verdict, seconds, rows, ...(since === undefined ? {} : { since }) };
      await noteInJournal(client, config.name, { kind: 'verified', from: 'source', ...own }, who);
    } finally {
      await client.end();
    }
  } catch (error) {
    logger.warn(
      { err: error },
      'the verdict was not noted in the migration journal: a cutover will ask for another verify',
    );
  }
}
