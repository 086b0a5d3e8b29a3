/** How values and records are written in profile `debezium`: Debezium's options by their own names. */
export interface DebeziumOptions {
  readonly format: 'json' | 'avro';
  /** JSON: the schema beside every payload, as Kafka Connect's JsonConverter writes it. */
  readonly schemasEnable: boolean;
  readonly decimalHandlingMode: 'precise' | 'double' | 'string';
  readonly timePrecisionMode:
    | 'adaptive'
    | 'adaptive_time_microseconds'
    | 'connect'
    | 'isostring'
    | 'microseconds'
    | 'nanoseconds';
  readonly intervalHandlingMode: 'numeric' | 'string';
  readonly binaryHandlingMode: 'bytes' | 'base64' | 'base64-url-safe' | 'hex';
  readonly hstoreHandlingMode: 'json' | 'map';
  readonly tombstonesOnDelete: boolean;
  readonly provideTransactionMetadata: boolean;
  readonly unavailableValuePlaceholder: string;
  /** `t` leaves TRUNCATE out of the tables' topics, as Debezium does unless told otherwise. */
  readonly skippedOperations: 't' | 'none';
  readonly extendedHeadersEnabled: boolean;
  /** Milliseconds; 0 writes none. */
  readonly heartbeatIntervalMs: number;
}

/** The value profile of a stream of events; null is `lossless`. */
export type Profile = DebeziumOptions | null;
