import { RestageError } from '#core/errors.ts';

/** Why a rule cannot give a value for a row. Stable: dead letters and reports carry it, never the value (invariant 8). */
export type FailureReason =
  | 'out_of_range'
  | 'too_long'
  | 'invalid_text'
  | 'division_by_zero'
  | 'not_finite'
  | 'wrong_type'
  | 'column_absent'
  | 'null_not_allowed';

/** A row that a rule cannot take. Its message names types and reasons, never a value; who catches it adds the event's place. */
export class RuleFailure extends RestageError {
  readonly reason: FailureReason;

  constructor(reason: FailureReason, what: string, details: { readonly where?: string; readonly fix?: string } = {}) {
    super('rule_failed', what, details);
    this.reason = reason;
  }
}
