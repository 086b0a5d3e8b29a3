/**
 * What becomes of a change that a target refuses for good. `stop`: the service stops for a person. `transaction`: its whole source
 * transaction becomes dead letters, and what waits behind one of its keys does too (invariants 3 and 4). `row`: the row change alone,
 * which gives up invariant 4.
 */
export const QUARANTINE_POLICIES = ['stop', 'transaction', 'row'] as const;
export type QuarantinePolicy = (typeof QUARANTINE_POLICIES)[number];
