import type { ReadRecord } from './topic-records.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** One difference: where in the record (`value.payload.source.version`), and in which. */
export interface Difference {
  readonly path: string;
  readonly theirs: Json | undefined;
  readonly ours: Json | undefined;
  /** Without the prefix. */
  readonly topic: string;
  /** Of the event; '' of other records. */
  readonly op: string;
}

/** A difference that is meant, and why. */
export interface AllowedDifference {
  readonly name: string;
  readonly why: string;
  /** A run may do without it: timing decides, or only the longer matrix of options asks for it. */
  readonly isOccasional?: true;
  readonly covers: (difference: Difference) => boolean;
}

/** Restage's own headers, which Debezium has not. */
const OWN_HEADERS: ReadonlySet<string> = new Set(['pos', 'xid', 'epoch', 'structure', 'chunk', 'row']);

/**
 * Compares the records of one topic in their order, field by field: key schema, key, value schema, value, headers. Returns what
 * differs and is not allowed; `used` collects the names of the allowances that were needed.
 */
export function compareRecords(
  theirs: readonly ReadRecord[],
  ours: readonly ReadRecord[],
  prefixes: { readonly theirs: string; readonly ours: string },
  allowed: readonly AllowedDifference[],
  used: Set<string>,
): string[] {
  const differences: string[] = [];
  if (theirs.length !== ours.length)
    differences.push(`${theirs.length} records of Debezium, ${ours.length} of Restage`);
  for (let index = 0; index < Math.min(theirs.length, ours.length); index += 1) {
    const [one, other] = [theirs[index], ours[index]];
    if (one === undefined || other === undefined) continue;
    const topic = one.topic.slice(prefixes.theirs.length + 1);
    const [record, op] = [plain(one, prefixes.theirs), /"op":"(\w)"/.exec(one.value?.toString() ?? '')?.[1] ?? ''];
    compare(record, plain(other, prefixes.ours), '', (path, a, b) => {
      const difference = { path, theirs: a, ours: b, topic, op };
      const allowance = allowed.find((candidate) => candidate.covers(difference));
      if (allowance !== undefined) used.add(allowance.name);
      else differences.push(`record ${index}: ${path}: ${text(a)} of Debezium, ${text(b)} of Restage`);
    });
  }
  return differences;
}

function plain(record: ReadRecord, prefix: string): Json {
  const part = (bytes: Buffer | null): Json =>
    bytes === null ? null : parseExact(bytes.toString().replaceAll(prefix, 'PREFIX'));
  const headers = [...record.headers].filter(([name]) => !OWN_HEADERS.has(name));
  return {
    key: part(record.key),
    value: part(record.value),
    headers: Object.fromEntries(headers.map(([name, value]) => [name, value.toString().replaceAll(prefix, 'PREFIX')])),
  };
}

/** JSON with integers past 2^53 as their digits: two of them may be equal as numbers and differ. */
function parseExact(json: string): Json {
  const quoted = json.replaceAll(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) =>
    /^-?\d{16,}$/.test(token) ? `"${token}"` : token,
  );
  return JSON.parse(quoted) as Json;
}

function compare(
  theirs: Json | undefined,
  ours: Json | undefined,
  path: string,
  report: (path: string, theirs: Json | undefined, ours: Json | undefined) => void,
): void {
  if (isObject(theirs) && isObject(ours)) {
    for (const key of new Set([...Object.keys(theirs), ...Object.keys(ours)]))
      compare(theirs[key], ours[key], path === '' ? key : `${path}.${key}`, report);
    return;
  }
  if (Array.isArray(theirs) && Array.isArray(ours)) {
    compareLists(theirs, ours, path, report);
    return;
  }
  // A double has more than one spelling.
  const isNumber = typeof theirs === 'number' && Number(ours) === theirs;
  if (!isNumber && JSON.stringify(theirs) !== JSON.stringify(ours)) report(path, theirs, ours);
}

/** A schema's fields by name and order, other lists by place. */
function compareLists(
  theirs: readonly Json[],
  ours: readonly Json[],
  path: string,
  report: (path: string, theirs: Json | undefined, ours: Json | undefined) => void,
): void {
  const names = (list: readonly Json[]): string[] =>
    list.flatMap((one) => {
      // Avro's are called name, Kafka Connect's field.
      const name = isObject(one) ? (one['field'] ?? one['name']) : null;
      return typeof name === 'string' ? [name] : [];
    });
  const [a, b] = [names(theirs), names(ours)];
  if (a.length !== theirs.length || b.length !== ours.length) {
    for (let index = 0; index < Math.max(theirs.length, ours.length); index += 1)
      compare(theirs[index], ours[index], `${path}.${index}`, report);
    return;
  }
  for (const name of new Set([...a, ...b]))
    compare(theirs[a.indexOf(name)], ours[b.indexOf(name)], `${path}.${name}`, report);
  const shared = a.filter((name) => b.includes(name));
  if (shared.join() !== b.filter((name) => a.includes(name)).join()) report(`${path}.order`, a.join(), b.join());
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: Json | undefined): string {
  const json = JSON.stringify(value) ?? 'nothing';
  return json.length > 160 ? `${json.slice(0, 160)}…` : json;
}
