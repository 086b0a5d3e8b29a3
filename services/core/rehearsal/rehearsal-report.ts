import type { RehearsalBudget } from '#core/rehearsal/rehearsal-config.ts';

/** One step of a rehearsal, as it went. */
export interface RehearsalStep {
  readonly name: 'clone' | 'neutralise' | 'replay' | 'switch' | 'verify' | 'smoke';
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
export function judgeBudgets(steps: readonly RehearsalStep[], budget: RehearsalBudget): BudgetResult[] {
  const judge = (name: string, step: RehearsalStep['name'], limitSeconds: number | null): BudgetResult[] => {
    if (limitSeconds === null) return [];
    const found = steps.find((one) => one.name === step);
    const seconds = found?.ok === true ? found.seconds : Number.POSITIVE_INFINITY;
    return [{ name, limitSeconds, seconds, ok: seconds <= limitSeconds }];
  };
  return [
    ...judge('rehearsal.budget.replaySeconds', 'replay', budget.replaySeconds),
    ...judge('rehearsal.budget.switchSeconds', 'switch', budget.switchSeconds),
  ];
}

export function verdictOf(
  steps: readonly RehearsalStep[],
  budgets: readonly BudgetResult[],
): RehearsalReport['verdict'] {
  return steps.every(({ ok }) => ok) && budgets.every(({ ok }) => ok) ? 'passed' : 'failed';
}
