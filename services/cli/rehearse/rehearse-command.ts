import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Config, TargetConfig } from '#core/config.ts';
import type { ExitCode } from '#core/error-policy.ts';
import type { Logger } from '#core/log.ts';
import { judgeBudgets, verdictOf, type RehearsalReport } from '#core/rehearsal/rehearsal-report.ts';
import type { CliEnvironment } from '../environment.ts';
import { noteAction } from '../migration/audit.ts';
import { forgetKilledTrial } from './forget-trial.ts';
import { openClonePlace, type ClonePlace } from './clone-place.ts';
import { formatRehearsal, rehearsalHtml, rehearsalJunit } from './rehearsal-printer.ts';
import { rehearse } from './rehearse-steps.ts';

export interface RehearseOptions {
  /** Where the report is written; null: nowhere. */
  readonly directory: string | null;
  readonly isKept: boolean;
  readonly isDryRun: boolean;
  readonly isJson: boolean;
}

/** `restage rehearse`: 0 when every step and every budget passed. */
export async function rehearseCommand(
  config: Config,
  target: TargetConfig,
  options: RehearseOptions,
  cli: CliEnvironment,
  logger: Logger,
): Promise<ExitCode> {
  await using place = await openClonePlace(config, target, logger, cli.signal);
  cli.err(`${describePlace(place)}\n`);
  if (options.isDryRun) {
    const { driver, probe, name, rehearsal } = place;
    if (options.isJson)
      cli.out(`${JSON.stringify({ clone: name, driver: driver.kind, baseline: rehearsal.baseline, ...probe })}\n`);
    return 0;
  }
  const startedAt = new Date().toISOString();
  const rehearsed = await rehearse({ config, target, place, isKept: options.isKept, cli, logger });
  const { steps, switches } = rehearsed;
  const budgets = judgeBudgets(steps, switches, place.rehearsal.budget);
  const report: RehearsalReport = {
    pipeline: config.name,
    target: target.name,
    output: target.output,
    startedAt,
    driver: place.driver.kind,
    baseline: place.rehearsal.baseline,
    ...rehearsed,
    budgets,
    verdict: verdictOf(steps, budgets),
  };
  if (options.directory !== null) await writeReport(options.directory, report);
  const took = Object.fromEntries(steps.map(({ name, seconds }) => [`${name} s`, Number(seconds.toFixed(3))]));
  await noteAction(config, [target], { action: 'rehearse', with: { verdict: report.verdict, ...took } }, logger);
  cli.out(options.isJson ? `${JSON.stringify(report)}\n` : formatRehearsal(report));
  return report.verdict === 'passed' ? 0 : 1;
}

/** `restage reset`: the clone as the baseline is, whatever was done to it. */
export async function resetCommand(
  config: Config,
  target: TargetConfig,
  options: { readonly isDropped: boolean; readonly isJson: boolean },
  cli: CliEnvironment,
): Promise<void> {
  const { makeLogger } = await import('../logger.ts');
  const logger = makeLogger(cli.env, cli.isTerminal);
  await using place = await openClonePlace(config, target, logger, cli.signal);
  const given = { clone: place.name, dropped: options.isDropped };
  await noteAction(config, [target], { action: 'reset', with: given }, logger);
  const startedAt = performance.now();
  await place.standIn?.drop();
  await place.driver.drop(place.name);
  const { url } = place.rehearsal;
  if (place.standIn !== null && url !== null) await forgetKilledTrial(config, target, url, logger, cli);
  if (!options.isDropped) await place.driver.create(place.name);
  const seconds = (performance.now() - startedAt) / 1000;
  const done = options.isDropped ? 'is removed' : `is as ${place.rehearsal.baseline ?? 'an empty database'} again`;
  cli.out(
    options.isJson
      ? `${JSON.stringify({ clone: place.name, dropped: options.isDropped, seconds })}\n`
      : `${place.name} ${done}, after ${seconds.toFixed(1)} s\n`,
  );
}

function describePlace({ driver, probe, name, rehearsal }: ClonePlace): string {
  const cost =
    probe.seconds === null || probe.bytes === null
      ? 'what it costs only the command knows'
      : `about ${Math.max(1, Math.ceil(probe.seconds))} s and ${(probe.bytes / 1e6).toFixed(1)} MB`;
  return `clone ${name} of ${rehearsal.baseline ?? 'an empty database'}, by ${driver.kind}: ${cost}`;
}

async function writeReport(directory: string, report: RehearsalReport): Promise<void> {
  await mkdir(directory, { recursive: true });
  await Promise.all([
    writeFile(path.join(directory, 'report.json'), `${JSON.stringify(report, null, 2)}\n`),
    writeFile(path.join(directory, 'report.html'), rehearsalHtml(report)),
    writeFile(path.join(directory, 'junit.xml'), rehearsalJunit(report)),
  ]);
}
