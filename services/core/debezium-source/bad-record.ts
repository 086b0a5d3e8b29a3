import { RestageError } from '#core/errors.ts';

/** Where a record stands in Kafka. */
export interface RecordPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

export function formatPlace({ topic, partition, offset }: RecordPlace): string {
  return `topic ${topic}, partition ${partition}, offset ${offset}`;
}

/** The one thing that becomes of a record that no reader can take: a loud stop, by its place and reason, never its values (invariant 8). */
export function badRecord(place: RecordPlace, reason: string, fix?: string): RestageError {
  return new RestageError('record_invalid', `a record of Debezium's cannot be read: ${reason}`, {
    where: formatPlace(place),
    fix: fix ?? 'see what wrote it; source.debezium must say the format, converters and options of the connector',
  });
}
