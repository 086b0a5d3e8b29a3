import type { ManifestDraft } from '#core/epoch-writer.ts';
import { formatLsn, parseLsn, LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { Manifest, ManifestKind, StoredManifest } from '#core/manifest.ts';
import type { StreamPart, StreamResume } from './stream-epochs.ts';

/** What a draft adds to the common part. */
type DraftExtra = Partial<
  Pick<
    ManifestDraft,
    | 'part'
    | 'last'
    | 'through'
    | 'load'
    | 'tables'
    | 'table'
    | 'chunk'
    | 'rows'
    | 'snapshot'
    | 'kept'
    | 'loaded'
    | 'late'
    | 'floors'
    | 'released'
  >
>;

/** Remembers the last manifest and makes the next: every manifest says how far the stream is, so the last is enough to restart. */
export class ManifestBook {
  readonly #incarnation: string;
  readonly #systemId: string;
  readonly #timeline: number;
  readonly #partitions: number;
  #last: StoredManifest | null;

  /** `partitions`: of each table's topic. */
  constructor(
    identity: { incarnation: string; systemId: string; timeline: number; partitions?: number },
    last: StoredManifest | null,
  ) {
    this.#incarnation = identity.incarnation;
    this.#systemId = identity.systemId;
    this.#timeline = identity.timeline;
    this.#partitions = identity.partitions ?? 1;
    this.#last = last === null ? null : withPlan(last);
  }

  get incarnation(): string {
    return this.last?.incarnation ?? this.#incarnation;
  }

  get last(): Manifest | null {
    return this.#last?.manifest ?? null;
  }

  /** Where the last manifest stands on `.epochs`. */
  get lastOffset(): bigint | null {
    return this.#last?.offset ?? null;
  }

  get through(): Lsn {
    return this.last === null ? LSN_ZERO : parseLsn(this.last.through);
  }

  get load(): number {
    return this.last?.load ?? 0;
  }

  /** Tables that were loaded late, under snapshots that the stream has yet to pass. */
  get floors(): NonNullable<Manifest['floors']> {
    return (this.last?.floors ?? []).filter(({ snapshot }) => parseLsn(snapshot) > this.through);
  }

  /** Where the stream goes on. */
  resume(): StreamResume {
    const last = this.last;
    const isOpen = last?.kind === 'stream' && !last.last;
    return {
      epoch: last?.epoch ?? 0,
      part: last?.part ?? 0,
      last: !isOpen,
      through: this.through,
      written:
        isOpen && last.lastCommit !== null ? { commit: parseLsn(last.lastCommit), ordinal: last.lastOrdinal } : null,
    };
  }

  /** Anything but stream: it stands between epochs and repeats the stream's last figures. */
  draft(kind: Exclude<ManifestKind, 'stream'>, extra: DraftExtra = {}): ManifestDraft {
    const last = this.last;
    const { late, ...common } = this.#common();
    return {
      ...common,
      ...(late === undefined || kind === 'end' ? {} : { late }),
      kind,
      epoch: last?.epoch ?? 0,
      part: 1,
      last: true,
      firstCommit: null,
      lastCommit: last?.lastCommit ?? null,
      lastOrdinal: last?.lastOrdinal ?? 0,
      through: formatLsn(this.through),
      commitTime: last?.commitTime ?? null,
      control: [],
      ...extra,
    };
  }

  stream(part: StreamPart): ManifestDraft {
    return {
      ...this.#common(),
      kind: 'stream',
      epoch: part.epoch,
      part: part.part,
      last: part.last,
      firstCommit: formatLsn(part.firstCommit),
      lastCommit: formatLsn(part.lastCommit),
      lastOrdinal: part.lastOrdinal,
      through: formatLsn(part.through),
      commitTime: String(part.commitTime),
      control: [...part.control],
      ...(part.isJoint && this.#partitions > 1 ? { joint: true } : {}),
    };
  }

  /** One that goes its own way from here. */
  copy(): ManifestBook {
    const identity = {
      incarnation: this.#incarnation,
      systemId: this.#systemId,
      timeline: this.#timeline,
      partitions: this.#partitions,
    };
    return new ManifestBook(identity, this.#last);
  }

  note(stored: StoredManifest): void {
    this.#last = withPlan(stored);
  }

  #common(): Pick<
    ManifestDraft,
    'incarnation' | 'systemId' | 'timeline' | 'load' | 'plan' | 'loaded' | 'late' | 'floors'
  > {
    const { last, floors } = this;
    return {
      incarnation: this.incarnation,
      systemId: this.#systemId,
      timeline: this.#timeline,
      load: this.load,
      plan: last?.plan ?? null,
      loaded: last?.loaded ?? false,
      ...(last?.late === undefined ? {} : { late: last.late }),
      ...(floors.length === 0 ? {} : { floors }),
    };
  }
}

/** Readers start at the first plan, also when a later one takes some tables again: the stream since is theirs to read. */
function withPlan({ offset, manifest }: StoredManifest): StoredManifest {
  const plan = manifest.kind === 'plan' && manifest.plan === null ? String(offset) : manifest.plan;
  const late =
    manifest.late === undefined ? {} : { late: { ...manifest.late, at: manifest.late.at ?? String(offset) } };
  return { offset, manifest: { ...manifest, ...late, plan } };
}
