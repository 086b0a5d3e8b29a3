import { RestageError } from '#core/errors.ts';
import { askRegistry } from './schema-registry.ts';

/**
 * A registered schema's text by its id (Confluent Schema Registry API: GET /schemas/ids/:id).
 * @throws RestageError registry_unreachable; registry_refused where it has no such schema or it is not Avro.
 */
export async function schemaById(url: string, id: number): Promise<string> {
  const body = await askRegistry(url, `schemas/ids/${id}`, `schema ${id}`, null);
  const isSchema = typeof body === 'object' && body !== null && 'schema' in body && typeof body.schema === 'string';
  const isAvro = isSchema && (!('schemaType' in body) || body.schemaType === 'AVRO');
  if (isAvro) return body.schema as string;
  throw new RestageError('registry_refused', 'the registered schema is not Avro', { where: `schema ${id}` });
}
