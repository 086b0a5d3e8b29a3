import { RestageError } from '#core/errors.ts';

const TIMEOUT_MS = 10_000;
const CONTENT_TYPE = 'application/vnd.schemaregistry.v1+json';

/**
 * Registers an Avro schema under a subject (Confluent Schema Registry API: POST /subjects/:subject/versions) and gives its
 * id; a known schema keeps its own. @throws RestageError registry_unreachable; registry_refused, as where the subject's
 * compatibility does not allow the schema.
 */
export async function registerSchema(url: string, subject: string, schema: string): Promise<number> {
  const body = await askRegistry(url, `subjects/${encodeURIComponent(subject)}/versions`, `subject ${subject}`, schema);
  if (typeof body === 'object' && body !== null && 'id' in body && typeof body.id === 'number') return body.id;
  throw new RestageError('registry_refused', 'the schema registry gave no id', { where: `subject ${subject}` });
}

/** Asked before anything is made. @throws RestageError registry_unreachable, registry_refused. */
export async function requireRegistry(url: string): Promise<void> {
  await askRegistry(url, 'subjects', 'its list of subjects', null);
}

/** Subjects by name. @throws RestageError registry_unreachable, registry_refused. */
export async function listSubjects(url: string): Promise<string[]> {
  const body = await askRegistry(url, 'subjects', 'its list of subjects', null);
  return Array.isArray(body) ? body.map(String) : [];
}

/** All versions of a subject, as far as the registry lets them go (DELETE /subjects/:subject). */
export async function deleteSubject(url: string, subject: string): Promise<void> {
  await askRegistry(url, `subjects/${encodeURIComponent(subject)}`, `subject ${subject}`, null, 'DELETE');
}

/** A question, or with a schema an order. */
export async function askRegistry(
  url: string,
  path: string,
  what: string,
  schema: string | null,
  method = schema === null ? 'GET' : 'POST',
): Promise<unknown> {
  const { origin, pathname, username, password } = new URL(url);
  const base = `${origin}${pathname.replace(/\/$/, '')}`;
  const where = `${base}, ${what}`;
  const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const headers = {
    'content-type': CONTENT_TYPE,
    ...(username === '' ? {} : { authorization: `Basic ${Buffer.from(user).toString('base64')}` }),
  };
  const order = { method, ...(schema === null ? {} : { body: JSON.stringify({ schema }) }) };
  let response: Response;
  try {
    response = await fetch(`${base}/${path}`, { headers, ...order, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (cause) {
    throw new RestageError('registry_unreachable', 'the schema registry does not answer', {
      where,
      cause,
      fix: 'check kafka.registry.url, and that the registry runs',
    });
  }
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body;
  throw new RestageError(
    response.status >= 500 ? 'registry_unreachable' : 'registry_refused',
    `the schema registry answered ${response.status}${messageOf(body)}`,
    { where, fix: 'correct what the registry names; a table whose shape changed may need another compatibility' },
  );
}

function messageOf(body: unknown): string {
  return typeof body === 'object' && body !== null && 'message' in body ? `: ${String(body.message)}` : '';
}
