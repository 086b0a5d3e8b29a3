import type { Config, KafkaConfig } from '#core/config.ts';
import { avroConverter } from '#core/debezium/avro-converter.ts';
import { avroSchema } from '#core/debezium/avro-schema.ts';
import { jsonConverter } from '#core/debezium/json-converter.ts';
import type { Profile } from '#core/debezium/options.ts';
import type { ConverterFactory } from '#core/debezium/record-converter.ts';
import { registerSchema, requireRegistry } from './schema-registry.ts';

/** JSON, or Avro under the subjects `<topic>-key` and `<topic>-value` (Confluent: TopicNameStrategy). */
export function converterFactory({ registryUrl = null }: KafkaConfig, profile: Profile): ConverterFactory {
  return async (topic, part, schema) => {
    if (profile?.format !== 'avro' || registryUrl === null)
      return jsonConverter(schema, profile?.schemasEnable ?? true);
    return avroConverter(schema, await registerSchema(registryUrl, `${topic}-${part}`, avroSchema(schema)));
  };
}

/** Where something of the pipeline is written in Avro. @throws RestageError registry_unreachable, registry_refused. */
export async function requireReadyRegistry({ kafka, source, outputs }: Config): Promise<void> {
  const isAvro = [source.profile, ...outputs.map(({ profile }) => profile)].some(
    (profile) => profile?.format === 'avro',
  );
  if (isAvro && typeof kafka.registryUrl === 'string') await requireRegistry(kafka.registryUrl);
}
