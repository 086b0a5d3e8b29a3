import { pino } from 'pino';
import type { Config } from '#core/config.ts';
import type { ExitCode } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { hideSecrets } from '#core/secrets.ts';
import { noteAction } from '../migration/audit.ts';
import { applyFixes, fixesOf, formatFixes, type AppliedFix, type WantedFix } from './apply-fixes.ts';
import { withCheckContext, type CheckContext } from './check-context.ts';
import { noteChecked } from './note-checked.ts';
import { collectDebeziumFindings, DEBEZIUM_CHECK_COUNT } from './debezium-checks.ts';
import { formatFindings, formatFindingsJson, type CheckedFinding } from './check-printer.ts';
import { EXTENSION_CHECKS } from './extension-checks.ts';
import type { Check } from './finding.ts';
import { KAFKA_CHECKS } from './kafka-checks.ts';
import { KEY_CHECKS } from './key-checks.ts';
import { LOCK_CHECKS } from './lock-checks.ts';
import { MASK_CHECKS } from './mask-checks.ts';
import { PROFILE_CHECKS } from './profile-checks.ts';
import { ORDERING_CHECKS } from './ordering-checks.ts';
import { QUARANTINE_CHECKS } from './quarantine-checks.ts';
import { ROLLBACK_CHECKS } from './rollback-checks.ts';
import { RULE_CHECKS } from './rule-checks.ts';
import { SCOPE_CHECKS } from './scope-checks.ts';
import { SOURCE_CHECKS } from './source-checks.ts';
import { TARGET_CHECKS } from './target-checks.ts';
import { APPLY_CHECKS } from './apply-checks.ts';
import { ENVIRONMENT_CHECKS } from './environment-checks.ts';
import { SOURCE_HEALTH_CHECKS } from './source-health-checks.ts';
import { STRUCTURE_CHECKS } from './structure-checks.ts';
import { TARGET_FITNESS_CHECKS } from './target-fitness-checks.ts';

/** Every check, in the order they run. */
export const CHECKS: readonly Check[] = [
  ...SOURCE_CHECKS,
  ...SOURCE_HEALTH_CHECKS,
  ...SCOPE_CHECKS,
  ...STRUCTURE_CHECKS,
  ...KAFKA_CHECKS,
  ...RULE_CHECKS,
  ...KEY_CHECKS,
  ...MASK_CHECKS,
  ...PROFILE_CHECKS,
  ...TARGET_CHECKS,
  ...LOCK_CHECKS,
  ...EXTENSION_CHECKS,
  ...APPLY_CHECKS,
  ...TARGET_FITNESS_CHECKS,
  ...QUARANTINE_CHECKS,
  ...ORDERING_CHECKS,
  ...ENVIRONMENT_CHECKS,
  ...ROLLBACK_CHECKS,
];

export interface CheckOptions {
  readonly json: boolean;
  /** Where the report goes; standard output by default. */
  readonly out?: (text: string) => void;
  readonly fix?: FixOptions;
}

export interface FixOptions {
  /** The statements are shown, and none is run. */
  readonly isDryRun: boolean;
  /** Whether a person wants them run. Not asked where there are none. */
  readonly confirm: () => Promise<boolean>;
  readonly err: (text: string) => void;
}

/**
 * `restage check`: 0 without blocking findings, 1 with; of what there is after the fixes. Changes nothing at the source, in Kafka or in
 * targets but by `fix`, and notes its answer in the targets' journals. @throws RestageError when source or a target cannot be reached at all.
 */
export async function runCheck(config: Config, options: CheckOptions): Promise<ExitCode> {
  const theirs = config.source.debezium ?? null;
  const { findings, fixes } =
    theirs === null
      ? await withCheckContext(config, async (context) => {
          const checked = await checkAndFix(context, options.fix);
          await noteChecked(context, 'none', checked.findings);
          return checked;
        })
      : { findings: await collectDebeziumFindings(config, theirs, pino({ level: 'silent' })), fixes: [] };
  const count = theirs === null ? CHECKS.length : DEBEZIUM_CHECK_COUNT;
  const out = options.out ?? ((text: string) => void process.stdout.write(text));
  out(options.json ? formatFindingsJson(findings, count, fixes) : formatFindings(findings, count));
  return findings.some((finding) => finding.severity === 'block') ? 1 : 0;
}

interface CheckedAndFixed {
  readonly findings: CheckedFinding[];
  readonly fixes: readonly (WantedFix | AppliedFix)[];
}

/** What is fixed is asked once more: only what the checks no longer find is gone. */
async function checkAndFix(context: CheckContext, options: FixOptions | undefined): Promise<CheckedAndFixed> {
  const findings = await collectFindings(context);
  if (options === undefined) return { findings, fixes: [] };
  const wanted = fixesOf(findings);
  if (wanted.length === 0) options.err('there is nothing that can be fixed safely\n');
  if (wanted.length === 0 || options.isDryRun || !(await offer(wanted, options))) {
    if (options.isDryRun) options.err(formatFixes(wanted));
    return { findings, fixes: wanted };
  }
  const fixes = await applyFixes(context, wanted);
  for (const { config } of context.targets) {
    const own = fixes.filter(({ at }) => at === 'source' || at === `target ${config.name}`);
    const given = Object.fromEntries(own.map(({ id, at, refused }) => [`${id}, ${at}`, refused ?? 'done']));
    await noteAction(context.config, [config], { action: 'check --fix', with: given }, pino({ level: 'silent' }));
  }
  options.err(formatFixes(fixes));
  return { findings: await collectFindings(context), fixes };
}

async function offer(wanted: readonly WantedFix[], { confirm, err }: FixOptions): Promise<boolean> {
  err(formatFixes(wanted));
  if (await confirm()) return true;
  err('nothing was changed\n');
  return false;
}

/** One after another: they share a session per server. A check that fails is a finding of its own, and the rest run. */
export async function collectFindings(context: CheckContext): Promise<CheckedFinding[]> {
  const all: CheckedFinding[] = [];
  for (const check of CHECKS) {
    try {
      for (const finding of await check.run(context)) {
        all.push({
          id: check.id,
          severity: finding.severity ?? check.severity,
          what: finding.what,
          evidence: hideSecrets(finding.evidence),
          fix: finding.fix,
          ...(finding.safeFix === undefined ? {} : { safeFix: finding.safeFix }),
        });
      }
    } catch (error) {
      all.push({
        id: check.id,
        severity: check.severity,
        what: 'this check could not run',
        evidence: hideSecrets(error instanceof Error ? error.message : String(error)),
        fix: (error instanceof RestageError ? error.fix : undefined) ?? 'see the message, and run the check again',
      });
    }
  }
  return all;
}
