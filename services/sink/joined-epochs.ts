import { isUncutEpoch, type Manifest, type StoredManifest } from '#core/manifest.ts';
import type { ReadPart, StructureChanges } from './part-reader.ts';

/** Consecutive manifests whose changes are applied together: a part of an epoch, or whole epochs. */
export interface JoinedEpochs {
  readonly part: ReadPart;
  /** How many manifests. */
  readonly count: number;
}

type ReadManifest = (manifest: Manifest) => Promise<ReadPart>;

/** A part that is larger is there alone: one row may be as large as all the memory that a sink has (invariant 6). */
const MOST_BESIDE_BYTES = 32 * 1024 * 1024;
/** Half of an epoch's default size: larger ones are worth a transaction, and are read while another is applied. */
const JOINED_BYTES = 2 * 1024 * 1024;

/**
 * Reads the stream's parts of a run of manifests that are there: one step ahead of whoever applies them, never more (invariant 6). Whole
 * epochs that wait behind each other are one step, so that a sink which is behind pays for a transaction of its target once for many.
 */
export class JoinedReader {
  readonly #manifests: readonly StoredManifest[];
  readonly #read: ReadManifest;
  #ahead: { readonly from: number; readonly joined: Promise<JoinedEpochs> } | null = null;

  constructor(manifests: readonly StoredManifest[], read: ReadManifest) {
    this.#manifests = manifests;
    this.#read = read;
  }

  /** The step that begins with the manifest at `from`, which is one of the stream's; of that one alone unless `mayJoin`. */
  async take(from: number, mayJoin: boolean): Promise<JoinedEpochs> {
    const ahead = this.#ahead?.from === from ? await this.#ahead.joined : null;
    const joined = ahead !== null && (mayJoin || ahead.count === 1) ? ahead : await this.#join(from, mayJoin);
    const next = from + joined.count;
    const isNext = this.#manifests[next]?.manifest.kind === 'stream' && joined.part.bytes < MOST_BESIDE_BYTES;
    this.#ahead = isNext ? { from: next, joined: this.#join(next, mayJoin) } : null;
    // Its error is thrown when its turn comes; should this step fail before, nobody asks for it.
    this.#ahead?.joined.catch(() => undefined);
    return joined;
  }

  async #join(from: number, mayJoin: boolean): Promise<JoinedEpochs> {
    const parts: ReadPart[] = [];
    for (let bytes = 0; bytes < JOINED_BYTES; bytes += parts.at(-1)?.bytes ?? 0) {
      const manifest = this.#manifests[from + parts.length]?.manifest;
      if (manifest === undefined || (parts.length > 0 && !(mayJoin && isUncutEpoch(manifest)))) break;
      const part = await this.#read(manifest);
      // What the policy has to decide about is looked at in its own epoch.
      if (parts.length > 0 && part.unusable.length > 0) break;
      parts.push(part);
      if (!isUncutEpoch(manifest) || part.unusable.length > 0) break;
    }
    return { part: joinParts(parts), count: parts.length };
  }
}

/** A topic's changes of one structure stay in order, and together where nothing of another structure is between. */
function joinParts(parts: readonly ReadPart[]): ReadPart {
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return only;
  const lists: StructureChanges[][] = [];
  const newest = new Map<string, StructureChanges[]>();
  for (const group of parts.flatMap(({ groups }) => groups)) {
    const { topic } = group.structure;
    const list = newest.get(topic);
    if (list?.[0]?.version === group.version) list.push(group);
    else {
      const started = [group];
      lists.push(started);
      newest.set(topic, started);
    }
  }
  return {
    groups: lists.flatMap((list) => {
      const [first] = list;
      return first === undefined ? [] : [{ ...first, changes: list.flatMap(({ changes }) => changes) }];
    }),
    bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
    unusable: parts.flatMap(({ unusable }) => unusable),
  };
}
