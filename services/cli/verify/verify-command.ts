import type { Config } from '#core/config.ts';
import type { ExitCode } from '#core/error-policy.ts';
import type { Logger } from '#core/log.ts';
import { findTarget } from '../config-file.ts';
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
  out(options.json ? `${JSON.stringify(report)}\n` : describeReport(report));
  return report.verdict === 'equal' ? 0 : 1;
}
