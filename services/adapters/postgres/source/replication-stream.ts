import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { lsnOf, formatLsn, type Lsn } from '#core/lsn.ts';
import { quoteIdentifier, quoteLiteral } from '#core/table-name.ts';
import { CopyBoth, type TakeMessage } from './copy-both.ts';

/** A frame of the streaming replication protocol (PostgreSQL: "Streaming Replication Protocol"). */
export type ReplicationFrame =
  /** A message of the plug-in: `bytes` from `from` to before `end`. */
  | { readonly kind: 'data'; readonly lsn: Lsn; readonly bytes: Buffer; readonly from: number; readonly end: number }
  /** Everything before `walEnd` has been decoded and sent, when no transaction is being sent. */
  | { readonly kind: 'keepalive'; readonly walEnd: Lsn };

/** The server ends a walsender that is silent for wal_sender_timeout, 60 s unless set; 10 s is the least in use. */
const STATUS_INTERVAL_MS = 3_000;
const POSTGRES_EPOCH_US = 946_684_800_000_000n;

/**
 * A slot's stream. Order: as the server sends, which is commit order. Back-pressure: nothing is read that is not asked for,
 * so a slow reader slows the walsender (invariant 6). Acknowledgement: only `confirm` moves the slot (invariant 1).
 */
export class ReplicationStream {
  readonly #client: pg.Client;
  readonly #copy: CopyBoth;
  readonly #timer: NodeJS.Timeout;
  #confirmed: Lsn;
  #frames: ReplicationFrame[] = [];
  #failure: unknown = null;
  /** Of whoever waits for frames. */
  #wake: (() => void) | null = null;
  #isFrozen = false;

  /** `confirmed`: what the server is told until `confirm` says more. */
  constructor(client: pg.Client, slot: string, publication: string, from: Lsn, confirmed = from) {
    this.#client = client;
    this.#confirmed = confirmed;
    const options = [
      `proto_version '2'`,
      `publication_names ${quoteLiteral(quoteIdentifier(publication))}`,
      `messages 'true'`,
      `streaming 'off'`,
    ];
    const command = `START_REPLICATION SLOT ${quoteIdentifier(slot)} LOGICAL ${formatLsn(from)} (${options.join(', ')})`;
    const take: TakeMessage = (bytes, at, end) => {
      const frame = this.#decode(bytes, at, end);
      if (frame !== null) this.#frames.push(frame);
    };
    this.#copy = new CopyBoth(command, take, () => {
      const { failure } = this.#copy;
      if (failure !== null) this.#failure ??= streamError(failure, slot, publication);
      this.#wake?.();
    });
    client.query(this.#copy);
    client.on('end', () => {
      this.#failure ??= Object.assign(new Error('Connection terminated: the source closed the replication stream'), {
        code: '08006',
      });
      this.#copy.end();
    });
    this.#timer = setInterval(() => this.#sendStatus(), STATUS_INTERVAL_MS);
  }

  /** What the server was told it may forget. */
  get confirmed(): Lsn {
    return this.#confirmed;
  }

  get hasFailed(): boolean {
    return this.#failure !== null;
  }

  /** Frames in arrays as they arrive, which are the reader's to empty; ends when aborted. Rejects when the connection or the server fails. */
  async *frames(signal: AbortSignal): AsyncGenerator<ReplicationFrame[]> {
    while (!signal.aborted) {
      const frames = this.#frames;
      this.#frames = [];
      this.#copy.more();
      if (frames.length > 0) yield frames;
      else await this.#waitMore(signal);
    }
  }

  /** Lets the server forget what lies before `lsn`. Call only with a committed manifest's `through` (invariant 1). */
  confirm(lsn: Lsn): void {
    if (lsn <= this.#confirmed || this.#isFrozen) return;
    this.#confirmed = lsn;
    this.#sendStatus();
  }

  /** Confirms nothing more: what was found makes it doubtful that all came that should. */
  freeze(): void {
    this.#isFrozen = true;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#sendStatus();
    await this.#client.end().catch(() => undefined);
  }

  #decode(bytes: Buffer, at: number, end: number): ReplicationFrame | null {
    const kind = bytes[at];
    if (kind === 0x77) return { kind: 'data', lsn: lsnOf(bytes.readBigUInt64BE(at + 1)), bytes, from: at + 25, end };
    if (kind !== 0x6b) return null;
    if (bytes[at + 17] === 1) this.#sendStatus();
    return { kind: 'keepalive', walEnd: lsnOf(bytes.readBigUInt64BE(at + 1)) };
  }

  async #waitMore(signal: AbortSignal): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    if (this.#copy.hasEnded) throw new Error('Connection terminated: the replication stream ended');
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.#wake = null;
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#wake = wake;
      signal.addEventListener('abort', wake);
    });
    if (this.#failure !== null && !signal.aborted) throw this.#failure;
  }

  /** Standby status update: written, flushed and applied are the same here. */
  #sendStatus(): void {
    if (this.#failure !== null) return;
    const update = Buffer.alloc(34);
    update[0] = 0x72;
    for (const offset of [1, 9, 17]) update.writeBigUInt64BE(this.#confirmed, offset);
    update.writeBigInt64BE(BigInt(Date.now()) * 1000n - POSTGRES_EPOCH_US, 25);
    this.#copy.send(update);
  }
}

/** What the server's words mean for the pipeline: a publication is looked up as it was at each change (PostgreSQL: "Publication"). */
function streamError(cause: Error & { readonly code?: string }, slot: string, publication: string): Error {
  if (cause.code === '42704' && /publication/.test(cause.message)) {
    return new RestageError(
      'publication_altered',
      `the publication ${publication} was not there for a while: ${cause.message}`,
      {
        where: `publication ${publication}, slot ${slot}`,
        fix: 'changes of that time cannot be read: start the pipeline anew under another name',
        cause,
      },
    );
  }
  return cause;
}
