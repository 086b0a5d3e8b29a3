import { hideSecrets } from '#core/secrets.ts';

/**
 * Every error a user can meet. A code is stable: scripts and the reference page rely on it.
 * `kind` decides what is done about it (error-policy.ts). `_auth`: the configuration names a user or password that the
 * server does not know; `_denied`: the server does not let that user. `schema_`: the target is not as `targets[].schema`
 * wants it when the load begins; `target_altered`: it was, and is no longer.
 */
export const ERROR_CODES = {
  config_invalid: 'usage',
  usage: 'usage',
  source_unreachable: 'unreachable',
  target_unreachable: 'unreachable',
  kafka_unreachable: 'unreachable',
  source_auth: 'usage',
  target_auth: 'usage',
  kafka_auth: 'usage',
  source_denied: 'person',
  target_denied: 'person',
  kafka_denied: 'person',
  database_missing: 'usage',
  source_not_ready: 'person',
  not_ready: 'person',
  table_not_found: 'usage',
  slot_missing: 'person',
  slot_ahead: 'person',
  slot_released: 'person',
  slot_foreign: 'person',
  slot_none_free: 'person',
  publication_missing: 'person',
  publication_altered: 'person',
  source_replaced: 'person',
  identity_missing: 'person',
  snapshot_lost: 'retry',
  lease_lost: 'retry',
  fenced: 'retry',
  kafka_fault: 'retry',
  kafka_replaced: 'person',
  topic_altered: 'person',
  history_lost: 'person',
  record_invalid: 'person',
  record_too_large: 'person',
  manifest_invalid: 'person',
  state_foreign: 'person',
  state_newer: 'person',
  state_damaged: 'person',
  output_changed: 'usage',
  replay_refused: 'usage',
  clone_refused: 'usage',
  repair_refused: 'retry',
  schema_missing: 'usage',
  schema_differs: 'usage',
  schema_tool: 'person',
  target_not_empty: 'usage',
  target_altered: 'person',
  load_overlap: 'person',
  target_drift: 'person',
  target_constraint: 'person',
  target_value: 'person',
  target_refused: 'person',
  dead_letters_wait: 'person',
  operator_busy: 'retry',
  operator_lost: 'retry',
  switch_refused: 'usage',
  switch_failed: 'person',
  switch_late: 'person',
  switch_stopped: 'person',
  switch_unfinished: 'person',
  switch_not_undone: 'person',
  fence_blocked: 'person',
  fence_ended: 'person',
  hook_failed: 'person',
  foreign_key_unmet: 'person',
  ddl_unsupported: 'person',
  value_unmapped: 'person',
  registry_unreachable: 'unreachable',
  registry_refused: 'person',
  rule_invalid: 'usage',
  rule_failed: 'person',
  rules_changed: 'usage',
  transient: 'retry',
  component_missing: 'unreachable',
  bug: 'person',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;
export type ErrorKind = (typeof ERROR_CODES)[ErrorCode];

export interface ErrorDetails {
  /** Where: table, key, LSN, topic/partition/offset, file and line. Never a password or a masked value (invariant 8). */
  readonly where?: string;
  /** What to do, as a sentence or a command. */
  readonly fix?: string;
  readonly cause?: unknown;
}

/** What, where and what to do about it (invariant 8). */
export class RestageError extends Error {
  override readonly name = 'RestageError';
  readonly code: ErrorCode;
  readonly where: string | undefined;
  readonly fix: string | undefined;

  constructor(code: ErrorCode, what: string, details: ErrorDetails = {}) {
    super(what, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.where = details.where;
    this.fix = details.fix;
  }

  get kind(): ErrorKind {
    return ERROR_CODES[this.code];
  }
}

const STABLE_CODE = /^[0-9A-Z]{5}$|^E[A-Z]{3,}$/;

/** One paragraph for a terminal, a log or a status: other programs' words are in it, so passwords are looked for (invariant 8). */
export function describeError(error: unknown): string {
  return hideSecrets(describe(error));
}

function describe(error: unknown): string {
  if (error instanceof RestageError) {
    const where = error.where === undefined ? '' : `\n  where: ${error.where}`;
    const fix = error.fix === undefined ? '' : `\n  fix:   ${error.fix}`;
    return `${error.code}: ${error.message}${where}${fix}`;
  }
  if (!(error instanceof Error)) return String(error);
  // A server's SQLSTATE or the system's word: what it says may be in another language.
  const code = 'code' in error && typeof error.code === 'string' && STABLE_CODE.test(error.code) ? error.code : '';
  return code === '' || error.message.includes(code) ? error.message : `${code}: ${error.message}`;
}
