import { RestageError } from '#core/errors.ts';

/** Answers that say "not yet": the same request may go again (Kafka: "Protocol Guide", Error Codes). */
const RETRIABLE: ReadonlySet<string> = new Set([
  'CONCURRENT_TRANSACTIONS',
  'COORDINATOR_LOAD_IN_PROGRESS',
  'COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_OR_FOLLOWER',
  'REQUEST_TIMED_OUT',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'FENCED_LEADER_EPOCH',
]);
const FENCED: ReadonlySet<string> = new Set(['PRODUCER_FENCED', 'INVALID_PRODUCER_EPOCH']);
const AUTH: ReadonlySet<string> = new Set([
  'SASL_AUTHENTICATION_FAILED',
  'UNSUPPORTED_SASL_MECHANISM',
  'ILLEGAL_SASL_STATE',
]);
const DENIED: ReadonlySet<string> = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
  'POLICY_VIOLATION',
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_CONFIG',
]);

/** Names of the codes that own parsers meet; the library names those of its own. */
const NAMES: Readonly<Record<number, string>> = {
  1: 'OFFSET_OUT_OF_RANGE',
  3: 'UNKNOWN_TOPIC_OR_PARTITION',
  5: 'LEADER_NOT_AVAILABLE',
  6: 'NOT_LEADER_OR_FOLLOWER',
  7: 'REQUEST_TIMED_OUT',
  10: 'MESSAGE_TOO_LARGE',
  14: 'COORDINATOR_LOAD_IN_PROGRESS',
  15: 'COORDINATOR_NOT_AVAILABLE',
  16: 'NOT_COORDINATOR',
  29: 'TOPIC_AUTHORIZATION_FAILED',
  45: 'OUT_OF_ORDER_SEQUENCE_NUMBER',
  46: 'DUPLICATE_SEQUENCE_NUMBER',
  47: 'INVALID_PRODUCER_EPOCH',
  48: 'INVALID_TXN_STATE',
  49: 'INVALID_PRODUCER_ID_MAPPING',
  51: 'CONCURRENT_TRANSACTIONS',
  53: 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
  55: 'OPERATION_NOT_ATTEMPTED',
  56: 'KAFKA_STORAGE_ERROR',
  59: 'UNKNOWN_PRODUCER_ID',
  74: 'FENCED_LEADER_EPOCH',
  90: 'PRODUCER_FENCED',
};

/** An error code in an answer that this adapter parses itself. */
export class KafkaCodeError extends Error {
  override readonly name = 'KafkaCodeError';
  readonly apiId: string;

  constructor(code: number, where: string) {
    const apiId = NAMES[code] ?? `code ${code}`;
    super(`Kafka answered ${apiId} for ${where}`);
    this.apiId = apiId;
  }
}

/** Answers that say that a partition is led elsewhere by now. */
const MOVED: ReadonlySet<string> = new Set([
  'NOT_LEADER_OR_FOLLOWER',
  'LEADER_NOT_AVAILABLE',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'KAFKA_STORAGE_ERROR',
]);

/** The protocol's name of an answer's first error, or null where no broker answered. */
export function protocolCode(error: unknown): string | null {
  if (error instanceof RestageError) return protocolCode(error.cause);
  if (typeof error !== 'object' || error === null) return null;
  if ('apiId' in error && typeof error.apiId === 'string') return error.apiId;
  if ('errors' in error && Array.isArray(error.errors)) {
    for (const inner of error.errors) {
      const code = protocolCode(inner);
      if (code !== null) return code;
    }
  }
  return 'cause' in error ? protocolCode(error.cause) : null;
}

export function isRetriable(error: unknown): boolean {
  const code = protocolCode(error);
  return code !== null && RETRIABLE.has(code);
}

/** What is known of leaders may be out of date: so it is also when a broker does not answer. */
export function saysLeaderMoved(error: unknown): boolean {
  const code = protocolCode(error);
  return code === null || MOVED.has(code);
}

/** What the network said, below the library's "connection failed". */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && cause.message !== '' ? ` (${cause.message})` : '';
}

/** The controller's reason: the brokers are registered, but none is in service (Kafka: KIP-631, fenced brokers). */
function saysBrokersAreComing(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  if ('serverErrorMessage' in error && /fenced/i.test(String(error.serverErrorMessage))) return true;
  return 'errors' in error && Array.isArray(error.errors) && error.errors.some(saysBrokersAreComing);
}

export function kafkaError(error: unknown, brokers: readonly string[]): RestageError {
  if (error instanceof RestageError) return error;
  const code = protocolCode(error);
  const message = error instanceof Error ? error.message : String(error);
  const where = `brokers ${brokers.join(', ')}`;
  if (code === null) {
    return new RestageError('kafka_unreachable', `cannot reach Kafka: ${message}${reasonOf(error)}`, {
      where,
      cause: error,
      fix: 'check kafka.brokers and kafka.ssl, and that the broker runs',
    });
  }
  if (FENCED.has(code)) {
    return new RestageError('fenced', `another instance took over (${code})`, {
      where,
      cause: error,
      fix: 'nothing, if it was this one that hung; else look for a second pipeline of this name on the same Kafka',
    });
  }
  if (AUTH.has(code))
    return new RestageError('kafka_auth', `Kafka does not accept kafka.sasl: ${code}`, {
      where,
      cause: error,
      fix: 'correct mechanism, username and password in kafka.sasl',
    });
  if (DENIED.has(code))
    return new RestageError('kafka_denied', `Kafka refused: ${code}: ${message}`, {
      where,
      cause: error,
      fix: "allow the user to create, read and write the pipeline's topics, groups and transactional ids (ACLs, policies)",
    });
  if (code === 'INVALID_REPLICATION_FACTOR' && saysBrokersAreComing(error))
    return new RestageError('kafka_fault', 'every broker of Kafka is on its way up or down', {
      where,
      cause: error,
      fix: 'nothing, if they are being restarted; else see that they run',
    });
  if (code === 'INVALID_REPLICATION_FACTOR')
    return new RestageError('config_invalid', 'Kafka has fewer brokers than kafka.topics.replicationFactor asks for', {
      where,
      cause: error,
      fix: 'lower kafka.topics.replicationFactor, or start the missing brokers',
    });
  if (code === 'MESSAGE_TOO_LARGE') {
    return new RestageError('record_too_large', 'Kafka refused a batch as too large', {
      where,
      cause: error,
      fix: "raise the broker's message.max.bytes, or the topic's max.message.bytes",
    });
  }
  return new RestageError('kafka_fault', `Kafka answered ${code}: ${message}`, { where, cause: error });
}
