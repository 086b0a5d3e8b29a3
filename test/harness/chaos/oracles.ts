/** What was read of one record of a data topic. */
export interface SeenEvent {
  readonly topic: string;
  readonly offset: number;
  /** The `pos` header: commit LSN and ordinal; null for a row of a snapshot. */
  readonly commit: bigint | null;
  readonly ordinal: number;
  readonly key: string | null;
  readonly isTombstone: boolean;
  /** The envelope's: c, u, d, r. */
  readonly op: string;
}

export interface SeenRange {
  readonly topic: string;
  readonly first: number;
  readonly last: number;
}

export interface SeenManifest {
  readonly offset: number;
  readonly kind: string;
  readonly epoch: number;
  readonly part: number;
  readonly last: boolean;
  readonly through: bigint;
  readonly ranges: readonly SeenRange[];
}

/** A committed transaction as one side tells of it: `table op` of each row change, in their order. */
export interface SeenTransaction {
  readonly name: string;
  readonly changes: readonly string[];
}

/** Every difference between two tables as multisets of rows in text form. */
export function compareRows(table: string, source: readonly string[], target: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const row of source) left.set(row, (left.get(row) ?? 0) + 1);
  for (const row of target) left.set(row, (left.get(row) ?? 0) - 1);
  return [...left]
    .filter(([, count]) => count !== 0)
    .map(([row, count]) => `${table}: ${row.slice(0, 200)}: ${count > 0 ? 'missing' : 'too many'} ${Math.abs(count)}`);
}

/** In a topic no event stands twice, and positions only grow; a tombstone repeats its delete's. */
export function checkTopic(events: readonly SeenEvent[]): string[] {
  const faults: string[] = [];
  let last: SeenEvent | null = null;
  for (const event of events) {
    if (last !== null && event.offset <= last.offset)
      faults.push(`${describe(event)}: not after offset ${last.offset}`);
    if (event.commit === null) continue;
    const order = last === null ? 1 : comparePlaces(event, last);
    const isOwnTombstone = order === 0 && event.isTombstone && last?.op === 'd' && !last.isTombstone;
    if (order < 0) faults.push(`${describe(event)}: goes back`);
    if (order === 0 && !isOwnTombstone) faults.push(`${describe(event)}: stands twice`);
    if (event.isTombstone && !isOwnTombstone) faults.push(`${describe(event)}: a tombstone without its delete`);
    last = event;
  }
  return faults;
}

/** Epochs and parts count without a gap, `through` never goes back, and ranges of a topic never overlap. */
export function checkManifests(manifests: readonly SeenManifest[]): string[] {
  const faults: string[] = [];
  const ends = new Map<string, number>();
  let through = 0n;
  let open = { epoch: 0, part: 0, last: true };
  for (const manifest of manifests) {
    const where = `manifest ${manifest.offset} (${manifest.kind} ${manifest.epoch}/${manifest.part})`;
    if (manifest.through < through) faults.push(`${where}: through goes back`);
    through = manifest.through;
    for (const { topic, first, last } of manifest.ranges) {
      if (first <= (ends.get(topic) ?? -1)) faults.push(`${where}: names records of ${topic} a second time`);
      ends.set(topic, last);
    }
    if (manifest.kind !== 'stream') continue;
    const expected = open.last ? { epoch: open.epoch + 1, part: 1 } : { epoch: open.epoch, part: open.part + 1 };
    if (manifest.epoch !== expected.epoch || manifest.part !== expected.part)
      faults.push(`${where}: comes where ${expected.epoch}/${expected.part} should`);
    open = manifest;
  }
  return faults;
}

/** What services write down for themselves stands there too, outside any manifest. */
const NOTES = /\.schemas$/;

/** Every record that a reader sees belongs to a manifest, and every record of a manifest is seen. */
export function checkRanges(manifests: readonly SeenManifest[], events: readonly SeenEvent[]): string[] {
  const named = new Map<string, number>();
  for (const { ranges } of manifests)
    for (const { topic, first, last } of ranges) named.set(topic, (named.get(topic) ?? 0) + last - first + 1);
  const seen = new Map<string, number>();
  for (const { topic } of events) seen.set(topic, (seen.get(topic) ?? 0) + 1);
  return [...new Set([...named.keys(), ...seen.keys()])]
    .filter((topic) => !NOTES.test(topic) && named.get(topic) !== seen.get(topic))
    .map((topic) => `${topic}: manifests name ${named.get(topic) ?? 0} records, ${seen.get(topic) ?? 0} are there`);
}

/** The same transactions with the same changes in the same order. */
export function compareHistories(truth: readonly SeenTransaction[], seen: readonly SeenTransaction[]): string[] {
  const faults: string[] = [];
  for (let at = 0; at < Math.max(truth.length, seen.length) && faults.length < 5; at += 1) {
    const [expected, found] = [truth[at], seen[at]];
    if (expected?.changes.join() === found?.changes.join()) continue;
    faults.push(
      `transaction ${at}: the source has ${tell(expected)}, Kafka ${tell(found)}; of ${truth.length} and ${seen.length}`,
    );
  }
  return faults;
}

/** Events of all topics merged by position, as the source's transactions. */
export function toTransactions(events: readonly SeenEvent[], tableOf: (topic: string) => string): SeenTransaction[] {
  const stream = events.filter((event) => event.commit !== null && !event.isTombstone).toSorted(comparePlaces);
  const transactions: { name: string; commit: bigint | null; changes: string[] }[] = [];
  for (const event of stream) {
    const change = `${tableOf(event.topic)} ${event.op}`;
    const last = transactions.at(-1);
    if (last !== undefined && last.commit === event.commit) last.changes.push(change);
    else transactions.push({ name: (event.commit ?? 0n).toString(16), commit: event.commit, changes: [change] });
  }
  return transactions;
}

function comparePlaces(a: SeenEvent, b: SeenEvent): number {
  const [left, right] = [a.commit ?? 0n, b.commit ?? 0n];
  if (left !== right) return left < right ? -1 : 1;
  return a.ordinal - b.ordinal;
}

function describe(event: SeenEvent): string {
  return `${event.topic} offset ${event.offset}, position ${(event.commit ?? 0n).toString(16)}:${event.ordinal}`;
}

function tell(transaction: SeenTransaction | undefined): string {
  if (transaction === undefined) return 'none';
  return `${transaction.name} [${transaction.changes.slice(0, 8).join(', ')}] (${transaction.changes.length})`;
}
