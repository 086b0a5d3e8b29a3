import type { SwitchReport } from '#core/migration/migration-report.ts';
import type { RehearsalBudget } from '#core/rehearsal/rehearsal-config.ts';

/** One step of a rehearsal, as it went. */
export interface RehearsalStep {
  readonly name: 'clone' | 'neutralise' | 'replay' | 'switch' | 'verify' | 'cutover' | 'smoke' | 'rollback';
  readonly seconds: number;
  readonly ok: boolean;
  /** For people: what was done, in figures. */
  readonly says: string;
}

export interface RehearsalReport {
  readonly pipeline: string;
  readonly target: string;
  readonly output: string | null;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly driver: string;
  readonly baseline: string | null;
  readonly steps: readonly RehearsalStep[];
  /** The rehearsed cutover and rollback, step by step; none where they were left out. */
  readonly switches: readonly SwitchReport[];
  /** What was not rehearsed, and why. */
  readonly leftOut: readonly string[];
  readonly budgets: readonly BudgetResult[];
  readonly verdict: 'passed' | 'failed';
}

export interface BudgetResult {
  readonly name: string;
  readonly limitSeconds: number;
  readonly seconds: number;
  readonly ok: boolean;
}

/** A budget for a step that never came is not met. */
export function judgeBudgets(
  steps: readonly RehearsalStep[],
  switches: readonly SwitchReport[],
  budget: RehearsalBudget,
): BudgetResult[] {
  const judge = (name: string, seconds: number, limitSeconds: number | null): BudgetResult[] =>
    limitSeconds === null ? [] : [{ name, limitSeconds, seconds, ok: seconds <= limitSeconds }];
  const took = (name: RehearsalStep['name']): number => {
    const found = steps.find((one) => one.name === name);
    return found?.ok === true ? found.seconds : Number.POSITIVE_INFINITY;
  };
  return [
    ...judge('rehearsal.budget.replaySeconds', took('replay'), budget.replaySeconds),
    ...judge('rehearsal.budget.switchSeconds', took('switch'), budget.switchSeconds),
    ...judge('rehearsal.budget.downtimeSeconds', downtimeOf(switches), budget.downtimeSeconds),
  ];
}

/** The longer of the two; a switch that was not done takes for ever. */
function downtimeOf(switches: readonly SwitchReport[]): number {
  const refused = (['target', 'source'] as const).map(
    (to) => switches.find((one) => one.to === to)?.unavailableMs ?? Number.POSITIVE_INFINITY,
  );
  return Math.max(...refused) / 1_000;
}

export function verdictOf(
  steps: readonly RehearsalStep[],
  budgets: readonly BudgetResult[],
): RehearsalReport['verdict'] {
  return steps.every(({ ok }) => ok) && budgets.every(({ ok }) => ok) ? 'passed' : 'failed';
}
