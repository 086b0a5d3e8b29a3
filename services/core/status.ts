import type { FlowFigures } from '#core/flow-meter.ts';
import type { Manifest } from '#core/manifest.ts';
import type { ValidationFigures } from '#core/validation-figures.ts';
import type { WalFigures } from '#core/wal-budget.ts';

/** What a service says about itself: kept by the service, read by its HTTP endpoints and written to `<name>.control`. */
export interface ServiceStatus {
  readonly service: 'producer' | 'transformer' | 'sink';
  /** The sink's target or the transformer's output; '' for the producer. */
  readonly instance: string;
  /** `paused` from the moment that it is told so, whatever it does: an epoch in hand is finished first. */
  state: ServiceState;
  /** It was told to pause. */
  isPaused: boolean;
  /** For people: what it is doing, or why it stopped. */
  detail: string;
  /** The hold request that a sink obeys now; '' for none. */
  held: string;
  /** Stream position reached, text form; '' before the first. */
  through: string;
  epoch: number;
  /**
   * Bytes of the source's WAL. Producer: from the slot's confirmed position to the end of WAL. Transformer and sink, which do not
   * talk to the source: from `through` to that of the newest raw manifest, so what the producer has yet to write is in its figure.
   */
  lagBytes: number;
  /** Age of the oldest transaction in Kafka that is not consumed; while none waits, age of the last one when it was consumed. */
  lagSeconds: number;
  /**
   * Records that manifests on the topic it reads name and that are not consumed (ManifestTotal). During the load: rows of chunks and the
   * stream's events, since both wait. 0 for the producer; a stand-by keeps no figures.
   */
  lagEvents: number;
  /** Bytes of WAL that the slot keeps (producer). */
  retainedWalBytes: number;
  /** The same beside its budget (producer); null until it was looked at. */
  wal: WalFigures | null;
  /** Over the last half minute; null until there are two looks at it. */
  flow: FlowFigures | null;
  events: Record<'insert' | 'update' | 'delete' | 'truncate' | 'snapshot', number>;
  epochs: number;
  lastEpochEvents: number;
  lastEpochBytes: number;
  /** Seconds the last epoch took to be written (producer, transformer) or applied (sink). */
  lastEpochSeconds: number;
  load: LoadStatus;
  /** Dead letters that wait: in the sink's target, or behind a transformer's rules. */
  deadLetters: number;
  /** What an output's checks found since its transformer started; null without checks. Absent in a service of before there were any. */
  validation?: ValidationFigures | null;
  /** Rows at which later changes wait. */
  heldKeys: number;
}

export const SERVICE_STATES = [
  'starting',
  'standby',
  'loading',
  'indexing',
  'streaming',
  'paused',
  'held',
  'retrying',
  'draining',
  'stopped',
  'failed',
] as const;
export type ServiceState = (typeof SERVICE_STATES)[number];

const HOLDABLE: ReadonlySet<ServiceState> = new Set(['loading', 'indexing', 'streaming']);

export interface LoadStatus {
  tables: number;
  tablesDone: number;
  chunks: number;
  chunksDone: number;
  rows: number;
  isDone: boolean;
}

export function newStatus(service: ServiceStatus['service'], instance: string): ServiceStatus {
  let state: ServiceState = 'starting';
  return {
    service,
    instance,
    get state() {
      return this.isPaused && HOLDABLE.has(state) ? 'paused' : state;
    },
    set state(next) {
      state = next;
    },
    isPaused: false,
    detail: '',
    held: '',
    through: '',
    epoch: 0,
    lagBytes: 0,
    lagSeconds: 0,
    lagEvents: 0,
    retainedWalBytes: 0,
    wal: null,
    flow: null,
    events: { insert: 0, update: 0, delete: 0, truncate: 0, snapshot: 0 },
    epochs: 0,
    lastEpochEvents: 0,
    lastEpochBytes: 0,
    lastEpochSeconds: 0,
    load: { tables: 0, tablesDone: 0, chunks: 0, chunksDone: 0, rows: 0, isDone: false },
    deadLetters: 0,
    heldKeys: 0,
  };
}

/**
 * lagSeconds after a manifest was written or applied at `now`, milliseconds since 1970. An empty one says that nothing waits, and what is
 * of the load says nothing of the stream: both repeat the time of a transaction that may be long past.
 */
export function noteAge(
  status: ServiceStatus,
  { kind, commitTime }: Pick<Manifest, 'kind' | 'commitTime'>,
  now: number,
): void {
  if (kind === 'empty') status.lagSeconds = 0;
  if (kind !== 'stream') return;
  status.lagSeconds = commitTime === null ? 0 : Math.max(0, now / 1000 - Number(commitTime) / 1e6);
}

/** Size and time of the last epoch after one of its parts was written: an epoch is the sum of them. `seconds` is the part's. */
export function noteEpochPart(
  status: ServiceStatus,
  { epoch, part }: Pick<Manifest, 'epoch' | 'part'>,
  { events, bytes, seconds }: { readonly events: number; readonly bytes: number; readonly seconds: number },
): void {
  const isFirst = part === 1;
  status.epoch = epoch;
  status.lastEpochEvents = events + (isFirst ? 0 : status.lastEpochEvents);
  status.lastEpochBytes = bytes + (isFirst ? 0 : status.lastEpochBytes);
  status.lastEpochSeconds = seconds + (isFirst ? 0 : status.lastEpochSeconds);
}
