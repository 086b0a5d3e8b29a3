import { RestageError } from '#core/errors.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import type { Position } from '#core/position.ts';
import { streamHeaders, type EventHeaders } from '#core/record.ts';
import type { Branch } from '#core/rules/branch.ts';
import type { ReachedRow } from '#core/rules/rule-memory.ts';
import { makeTail } from './envelope-text.ts';
import type { Truncation } from './careful-epoch.ts';
import type { EpochRecords } from './event-shaper-options.ts';
import type { EventShaper } from './event-shaper.ts';

/** What is known of what reached a row. */
export interface ReachFacts {
  /** An envelope's, from its source block on. */
  readonly tail: string;
  readonly headers: EventHeaders;
  readonly where: string;
}

/** An epoch's part is in memory whole (invariant 6). */
const MOST_REACHED_BYTES = 512 * 1024 * 1024;

/** Whether the order of these topics' events, and of what truncates them, is to be the source's: rows of one table depend on another's. */
export function doJoin({ state }: EventShaper, topics: readonly string[], truncations: readonly Truncation[]): boolean {
  if (state === null) return false;
  const isMet = (topic: string): boolean => state.memory.has(topic);
  return truncations.some((one) => one.topics.some(isMet)) || topics.filter(isMet).length > 1;
}

/** What becomes of other tables' rows where remembered tables are emptied; those of its own go with it. Returns the ops. */
export async function truncateRemembered(
  shaper: EventShaper,
  truncation: Truncation,
  { offset, manifest }: StoredManifest,
  records: EpochRecords,
): Promise<string> {
  const { state } = shaper;
  const topics = truncation.topics.filter((topic) => state?.memory.has(topic) === true);
  const [first] = topics;
  if (state === null || first === undefined) return '';
  const was = state.truncate(topics, offset, records.side);
  const { position, time } = truncation;
  const place = `TRUNCATE of ${first} at LSN ${formatLsn(position.commit)}`;
  const reached = state.memory.takeAll(new Set(topics), { place, time }, was, (topic) => topics.includes(topic));
  return reachRows(shaper, reached, factsOf(shaper, { topic: first, position, time, place }, manifest), records);
}

/** After a late load: what became of rows that look up rows of its tables, and were not in it themselves. Returns the ops. */
export async function settleReload(
  shaper: EventShaper,
  { manifest }: StoredManifest,
  records: EpochRecords,
): Promise<string> {
  const { state } = shaper;
  const [first] = state?.reloaded ?? [];
  if (state === null || first === undefined) return '';
  const position = { commit: parseLsn(manifest.firstCommit ?? manifest.through), ordinal: 0 };
  const time = BigInt(manifest.commitTime ?? 0);
  const place = `the load of ${[...state.reloaded].join(', ')}`;
  const isNew = (topic: string, lookedUp: string): boolean => state.isShapedAfter(topic, lookedUp);
  const reached = state.memory.takeAll(state.reloaded, { place, time }, state.beforeReload, isNew);
  const facts = factsOf(shaper, { topic: first, position, time, place }, manifest);
  const ops = await reachRows(shaper, reached, facts, records);
  state.settleReload(records.side);
  return ops;
}

/** Appends their events. Those are placed after their tables' loads, which have the rows as they were before what reached them. */
export async function reachRows(
  shaper: EventShaper,
  reached: AsyncIterable<ReachedRow>,
  { tail, headers, where }: ReachFacts,
  { data: out, floorOf }: EpochRecords,
): Promise<string> {
  let ops = '';
  for await (const { topic, events } of reached) {
    if (events.length === 0) continue;
    shaper.introduceNewest(topic, out);
    const floor = floorOf(topic);
    const position = headers.position.commit < floor ? { commit: floor, ordinal: 0 } : headers.position;
    const placed = { ...headers, position };
    const headersFor = ({ version }: Branch): Buffer => streamHeaders({ ...placed, structure: version });
    ops += shaper.append(events, { tail, headers: placed, headersFor, where }, out);
    if (out.bytes > MOST_REACHED_BYTES) throw tooMany(where);
  }
  return ops;
}

interface Told {
  /** Whose change it is. */
  readonly topic: string;
  readonly position: Position;
  readonly time: bigint;
  readonly place: string;
}

/** Of what the source has no record of. */
function factsOf(shaper: EventShaper, { topic, position, time, place }: Told, { epoch }: Manifest): ReachFacts {
  const { source } = shaper.rulesOf(topic);
  const tail = makeTail({ topic, table: source, commit: position.commit, time });
  return { tail, headers: { position, xid: 0n, epoch, structure: 0 }, where: place };
}

function tooMany(where: string): RestageError {
  return new RestageError('rule_failed', 'a change of a looked up row reaches more rows than one epoch may hold', {
    where: `${where}; more than ${MOST_REACHED_BYTES / 2 ** 20} MiB of events`,
    fix: 'look the value up at the target instead, and start the output anew under its next version',
  });
}
