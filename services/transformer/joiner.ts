import type { PauseGate } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { EpochWriter } from '#core/epoch-writer.ts';
import { RestageError } from '#core/errors.ts';
import { joinShares } from '#core/joined-shares.ts';
import { planOf, type Manifest, type StoredManifest } from '#core/manifest.ts';
import type { ServiceStatus } from '#core/status.ts';
import { noteWritten } from './epoch-figures.ts';

export interface JoinerParts {
  /** What each lane wrote, by lane. */
  readonly lanes: readonly EpochReader[];
  /** Of the output's `.epochs`. */
  readonly writer: EpochWriter;
  /** Before the first manifest that names them. */
  readonly remember: (topics: readonly string[]) => Promise<void>;
  /** After each transaction of Kafka. */
  readonly onJoined: () => void;
  readonly status: ServiceStatus;
  readonly gate: PauseGate;
  readonly clock: () => number;
}

/** Of one Kafka transaction: a manifest of a thousand tables is large. */
const MOST_AT_ONCE = 200;

/**
 * Puts the shares of all lanes together, each raw manifest's to one: what an output of one instance would have written, but for where its
 * records stand. It reads and writes no rows. Where it goes on its own last manifest says (invariant 2).
 */
export async function joinLanes(parts: JoinerParts, signal: AbortSignal): Promise<void> {
  const { lanes, writer, status, gate, remember, clock } = parts;
  await writer.open();
  let last = await writer.last();
  const next = nextShares(last?.manifest ?? null, lanes.length);
  let plan = planOf(last);
  const feeds = lanes.map((lane, index) => new ShareFeed(lane, next[index] ?? 0n, signal));
  const known = new Set<string>();
  status.through = last?.manifest.through ?? '';
  status.state = 'streaming';
  while (!signal.aborted) {
    const filled = await Promise.all(feeds.map((feed) => feed.fill()));
    await gate.whenRunning(signal);
    if (signal.aborted || filled.includes(0)) return;
    const startedAt = clock();
    const shares = Array.from({ length: Math.min(MOST_AT_ONCE, ...filled) }, () => feeds.map((feed) => feed.take()));
    // A plan's own offset is known once it is written.
    const upTo = plan === null ? 1 : shares.length;
    for (const feed of feeds) feed.giveBack(shares.length - upTo);
    const entries = shares.slice(0, upTo).map((of) => joinShares(of, plan));
    const topics = entries.flatMap(({ ranges = [] }) => ranges.map(({ topic }) => topic));
    const unseen = [...new Set(topics)].filter((topic) => !known.has(topic));
    if (unseen.length > 0) await remember(unseen);
    for (const topic of unseen) known.add(topic);
    const written = await writer.writeAll(entries, []);
    last = written.at(-1) ?? last;
    plan = planOf(last);
    const seconds = (clock() - startedAt) / 1000 / Math.max(1, written.length);
    for (const { manifest } of written) {
      noteJoined(status, manifest);
      noteWritten(status, manifest, manifest.rows ?? 0, 0, seconds, clock());
    }
    parts.onJoined();
  }
}

function noteJoined(status: ServiceStatus, { kind, loaded }: Manifest): void {
  if (kind === 'stream' || kind === 'empty') {
    status.state = 'streaming';
    status.load.isDone = loaded !== false;
  } else status.state = 'loading';
}

/** By lane. @throws RestageError config_invalid where the output was begun otherwise. */
function nextShares(last: Manifest | null, lanes: number): bigint[] {
  if (last === null) return Array.from({ length: lanes }, () => 0n);
  const shares = last.raw?.shares;
  if (shares === undefined) throw begunOtherwise('transaction', 'key');
  if (shares.length === lanes) return shares.map((offset) => BigInt(offset) + 1n);
  throw new RestageError('config_invalid', `an output of ${shares.length} lanes was begun, and there are ${lanes}`, {
    fix: `set kafka.topics.partitions: ${shares.length}`,
  });
}

/** An output's keys would be in other partitions than before. */
export function begunOtherwise(was: string, is: string): RestageError {
  return new RestageError('config_invalid', `the output was begun with ordering: ${was}, and the file says ${is}`, {
    fix: `put it back, or raise the output's version`,
  });
}

/** A lane's shares, in their order. */
class ShareFeed {
  readonly #manifests: AsyncIterator<readonly StoredManifest[]>;
  #waiting: StoredManifest[] = [];
  #taken: StoredManifest[] = [];

  constructor(lane: EpochReader, from: bigint, signal: AbortSignal) {
    this.#manifests = lane.manifests(from, signal)[Symbol.asyncIterator]();
  }

  /** Waits for one at least; how many there are: 0 when aborted. */
  async fill(): Promise<number> {
    this.#taken = [];
    while (this.#waiting.length === 0) {
      const next = await this.#manifests.next();
      if (next.done === true) return 0;
      this.#waiting = [...next.value];
    }
    return this.#waiting.length;
  }

  take(): StoredManifest {
    const next = this.#waiting.shift();
    if (next === undefined) throw new RestageError('bug', 'a share was taken that is not there');
    this.#taken.push(next);
    return next;
  }

  /** The last so many that were taken. */
  giveBack(count: number): void {
    if (count > 0) this.#waiting.unshift(...this.#taken.splice(this.#taken.length - count));
  }
}
